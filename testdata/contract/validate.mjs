// Reads an OpenAPI document from standard input; says what is wrong with it, and fails, if something is.
import { text } from 'node:stream/consumers'
import { Validator } from '@seriousme/openapi-schema-validator'

const validator = new Validator()
const result = await validator.validate(JSON.parse(await text(process.stdin)))
if (!result.valid || validator.version !== '3.1') {
  console.error(JSON.stringify(result.errors ?? validator.version, null, 1))
  process.exit(1)
}
