package nodetest

import (
	"bytes"
	"crypto/sha256"
	"encoding/json"
	"fmt"
	"net/http"
	"os"
	"path/filepath"
	"slices"
	"strings"
	"sync"
	"testing"

	"github.com/santhosh-tekuri/jsonschema/v6"

	"fabric-guild/events/ssetest"
)

// A contract is openapi.json with its compiled schemas. OpenAPI 3.1 uses JSON Schema 2020-12.
type contract struct {
	Doc struct {
		Paths      map[string]map[string]json.RawMessage `json:"paths"`
		Components struct {
			Schemas   map[string]json.RawMessage `json:"schemas"`
			Responses map[string]response        `json:"responses"`
		} `json:"components"`
	}
	compiler *jsonschema.Compiler

	mu       sync.Mutex
	compiled map[string]*jsonschema.Schema // by JSON pointer
}

// A response is an answer of an operation, as the document describes it.
type response struct {
	Description string                     `json:"description"`
	Headers     map[string]json.RawMessage `json:"headers"`
	Content     map[string]json.RawMessage `json:"content"`
}

// TheContract is read once; the whole suite's answers are held against it.
var TheContract = sync.OnceValues(func() (*contract, error) {
	b, err := os.ReadFile(filepath.Join(moduleRoot(), "handlers", "openapi.json"))
	if err != nil {
		return nil, err
	}
	c := &contract{compiler: jsonschema.NewCompiler(), compiled: map[string]*jsonschema.Schema{}}
	if err := json.Unmarshal(b, &c.Doc); err != nil {
		return nil, err
	}
	whole, err := jsonschema.UnmarshalJSON(bytes.NewReader(b))
	if err != nil {
		return nil, err
	}
	c.compiler.DefaultDraft(jsonschema.Draft2020)
	c.compiler.AssertFormat()
	return c, c.compiler.AddResource("openapi.json", whole)
})

// moduleRoot returns the folder of go.mod. It is the current folder or one above it.
func moduleRoot() string {
	for dir := "."; ; dir = filepath.Join("..", dir) {
		_, err := os.Stat(filepath.Join(dir, "go.mod"))
		if err == nil || len(dir) > 100 {
			return dir
		}
	}
}

// Routes returns the API's operations, each as "GET /api/channels/:id".
func Routes() ([]string, error) {
	c, err := TheContract()
	if err != nil {
		return nil, err
	}
	braces := strings.NewReplacer("{", ":", "}", "")
	var all []string
	for path, operations := range c.Doc.Paths {
		for method := range operations {
			if method != "parameters" {
				all = append(all, strings.ToUpper(method)+" "+braces.Replace(path))
			}
		}
	}
	slices.Sort(all)
	return all, nil
}

// check validates a JSON value with the schema at a pointer.
func (c *contract) check(pointer string, value []byte) error {
	c.mu.Lock()
	schema := c.compiled[pointer]
	if schema == nil {
		var err error
		if schema, err = c.compiler.Compile("openapi.json#" + pointer); err != nil {
			c.mu.Unlock()
			return err
		}
		c.compiled[pointer] = schema
	}
	c.mu.Unlock()
	v, err := jsonschema.UnmarshalJSON(bytes.NewReader(value))
	if err != nil {
		return err
	}
	return schema.Validate(v)
}

// template returns the path in the document that matches the path of a request.
func (c *contract) template(path string) (string, bool) {
	path, _, _ = strings.Cut(path, "?")
	parts := strings.Split(path, "/")
	for template := range c.Doc.Paths {
		matches := func(name, part string) bool { return name == part || strings.HasPrefix(name, "{") }
		if slices.EqualFunc(strings.Split(template, "/"), parts, matches) {
			return template, true
		}
	}
	return "", false
}

// pointer returns where the document has the schema of an answer. It is empty if there is none.
func (c *contract) pointer(method, path string, status int, contentType string) (string, error) {
	if contentType == "application/problem+json" {
		return "/components/schemas/Problem", nil
	}
	template, ok := c.template(path)
	if !ok || contentType != "application/json" {
		return "", nil
	}
	if method == http.MethodHead {
		return "", nil
	}
	responses, err := c.responses(method, template)
	if err != nil {
		return "", fmt.Errorf("%s %s is not in the contract: %w", method, template, err)
	}
	code := fmt.Sprint(status)
	if _, ok := responses[code].Content[contentType]; !ok {
		return "", fmt.Errorf("the contract has no %d as %s of %s %s", status, contentType, method, template)
	}
	return pointerTo(template, method, "responses/"+code), nil
}

// pointerTo returns where the document has the schema of a part of an operation.
func pointerTo(template, method, part string) string {
	escaped := strings.NewReplacer("~", "~0", "/", "~1", "{", "%7B", "}", "%7D").Replace(template)
	return fmt.Sprintf("/paths/%s/%s/%s/content/application~1json/schema", escaped, strings.ToLower(method),
		part)
}

// responses returns the answers of an operation, by status. An operation that is not in the document is an
// error.
func (c *contract) responses(method, template string) (map[string]response, error) {
	var op struct {
		Responses map[string]response `json:"responses"`
	}
	err := json.Unmarshal(c.Doc.Paths[template][strings.ToLower(method)], &op)
	return op.Responses, err
}

// checkCode returns an error if the document does not name the code of a problem: either in the description
// of the operation's errors, or among the errors of every request.
func (c *contract) checkCode(method, path, code string) error {
	if method == http.MethodHead {
		method = http.MethodGet
	}
	named := c.Doc.Components.Responses["Problem"].Description
	if template, ok := c.template(path); ok {
		if responses, err := c.responses(method, template); err == nil {
			named += responses["default"].Description
		}
	}
	if !strings.Contains(named, "`"+code+"`") {
		return fmt.Errorf("the contract does not name the error %s of %s %s", code, method, path)
	}
	return nil
}

// holdRequest is called for every body that the suite sends. What the server accepts must be as the contract
// has it.
func holdRequest(t testing.TB, method, path string, body []byte, a Answer) {
	t.Helper()
	c, err := TheContract()
	if err != nil {
		t.Error(err)
		return
	}
	template, ok := c.template(path)
	if !ok || len(body) == 0 || a.Status >= http.StatusMultipleChoices {
		return
	}
	if err := c.check(pointerTo(template, method, "requestBody"), body); err != nil {
		t.Errorf("%s %s: %s was accepted, which is not as the contract has it: %v", method, path, body, err)
	}
}

// namedHeaders are the headers of answers that openapi.json must name where they are sent.
var namedHeaders = []string{
	"Allow", "Idempotency-Replayed", "RateLimit", "RateLimit-Policy", "Retry-After", "Set-Cookie",
	"WWW-Authenticate",
}

// checkHeaders returns an error if an answer has a header of namedHeaders that the document does not name for
// it.
func (c *contract) checkHeaders(method, path string, a Answer) error {
	described := c.Doc.Components.Responses["Problem"]
	if a.Status < http.StatusBadRequest {
		template, ok := c.template(path)
		if !ok {
			return nil
		}
		if method == http.MethodHead {
			method = http.MethodGet
		}
		responses, err := c.responses(method, template)
		if err != nil {
			return nil // such as the answer to a preflight
		}
		described = responses[fmt.Sprint(a.Status)]
	}
	for _, name := range namedHeaders {
		if _, named := described.Headers[name]; !named && a.Header.Get(name) != "" {
			return fmt.Errorf("the contract has no header %s for %d of %s %s", name, a.Status, method, path)
		}
	}
	return nil
}

// holdAnswer is called for every answer that the suite gets.
func holdAnswer(t testing.TB, method, path string, a Answer) {
	t.Helper()
	c, err := TheContract()
	if err != nil {
		t.Error(err)
		return
	}
	if err := c.checkHeaders(method, path, a); err != nil {
		t.Error(err)
	}
	at, err := c.pointer(method, path, a.Status, a.Header.Get("Content-Type"))
	if err != nil {
		t.Error(err)
		return
	}
	if at == "" || len(a.Body) == 0 {
		return
	}
	if a.Header.Get("Content-Type") == "application/problem+json" {
		var p struct{ Code string }
		err := json.Unmarshal(a.Body, &p)
		if err == nil {
			err = c.checkCode(method, path, p.Code)
		}
		if err != nil {
			t.Error(err)
		}
	}
	if err := c.check(at, a.Body); err != nil {
		t.Errorf("%s %s: got %s, which is not as the contract has it: %v", method, path, a, err)
	}
}

// held has the hashes of frames that are as the contract has them. Many streams show the same frame: it is
// checked once.
var held sync.Map

// holdFrame checks an event against the contract. Every event that a Stream reads is checked.
func holdFrame(f ssetest.Frame) error {
	if f.Event == "" {
		return nil
	}
	hash := sha256.Sum256([]byte(f.Event + "\n" + f.ID + "\n" + f.Data))
	if _, ok := held.Load(hash); ok {
		return nil
	}
	c, err := TheContract()
	if err != nil {
		return err
	}
	var name strings.Builder
	for part := range strings.SplitSeq(f.Event, ".") {
		name.WriteString(strings.ToUpper(part[:1]) + part[1:])
	}
	b, err := json.Marshal(struct {
		ID    string          `json:"id,omitempty"`
		Event string          `json:"event"`
		Data  json.RawMessage `json:"data"`
	}{f.ID, f.Event, json.RawMessage(f.Data)})
	if err != nil {
		return err
	}
	if err := c.check("/components/schemas/"+name.String(), b); err != nil {
		return fmt.Errorf("%w: an event that is not as the contract has it: %w", ssetest.ErrStrict, err)
	}
	held.Store(hash, true)
	return nil
}
