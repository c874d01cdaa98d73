// Package openclaw holds the channel plugin for OpenClaw that fits this server, as plain JavaScript.
package openclaw

import "embed"

// Files are the files of the plugin, in the directory plugin.
//
//go:embed plugin
var Files embed.FS
