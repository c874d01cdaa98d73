// Package openclaw has the channel plugin for OpenClaw that fits this server. The plugin is plain JavaScript,
// without dependencies and without a build.
package openclaw

import (
	"archive/tar"
	"bytes"
	"compress/gzip"
	"embed"
	"errors"
	"fmt"
	"os"
	"path/filepath"
	"regexp"
	"strings"
	"time"
)

//go:embed plugin
var files embed.FS

// A File is a file of the plugin. Name has no directory.
type File struct {
	Name string
	Body []byte
}

// semver is a version as npm takes it, after the v that Go writes.
var semver = regexp.MustCompile(`^v?(\d+\.\d+\.\d+([-+][0-9A-Za-z.+-]*)?)$`)

// Files returns the plugin's files in the order of their names. The package has the version of the program,
// such as v1.2.3; a program that was built without one gives 0.0.0.
func Files(version string) []File {
	number := "0.0.0"
	if match := semver.FindStringSubmatch(version); match != nil {
		number = match[1]
	}
	entries, err := files.ReadDir("plugin")
	if err != nil {
		panic(err) // embedded: a fault of the build
	}
	var all []File
	for _, entry := range entries {
		body, err := files.ReadFile("plugin/" + entry.Name())
		if err != nil {
			panic(err)
		}
		if entry.Name() == "package.json" {
			body = bytes.Replace(body, []byte(`"version": "0.0.0"`), []byte(`"version": "`+number+`"`), 1)
		}
		all = append(all, File{entry.Name(), body})
	}
	return all
}

// Archive returns the plugin as a package of npm, a compressed tar archive. The same version has the same
// bytes.
func Archive(version string) ([]byte, error) {
	var packed bytes.Buffer
	zip := gzip.NewWriter(&packed)
	archive := tar.NewWriter(zip)
	for _, file := range Files(version) {
		header := &tar.Header{
			Name: "package/" + file.Name, Mode: 0o644, Size: int64(len(file.Body)),
			ModTime: time.Unix(0, 0), Format: tar.FormatUSTAR,
		}
		if err := archive.WriteHeader(header); err != nil {
			return nil, err
		}
		if _, err := archive.Write(file.Body); err != nil {
			return nil, err
		}
	}
	if err := errors.Join(archive.Close(), zip.Close()); err != nil {
		return nil, err
	}
	return packed.Bytes(), nil
}

// Write writes the plugin's files to dir, which it makes if it must. It replaces an older version of the
// plugin, and refuses a directory that holds something else.
func Write(dir, version string) error {
	if err := os.MkdirAll(dir, 0o755); err != nil {
		return err
	}
	old, err := os.ReadDir(dir)
	if err != nil {
		return err
	}
	manifest, err := os.ReadFile(filepath.Join(dir, "openclaw.plugin.json"))
	if err != nil && !errors.Is(err, os.ErrNotExist) {
		return err
	}
	if len(old) > 0 && !strings.Contains(string(manifest), `"id": "fabric"`) {
		return fmt.Errorf("%s is not empty and does not hold this plugin: choose another directory", dir)
	}
	for _, entry := range old {
		if strings.HasSuffix(entry.Name(), ".js") { // of an older version
			if err := os.Remove(filepath.Join(dir, entry.Name())); err != nil {
				return err
			}
		}
	}
	for _, file := range Files(version) {
		if err := os.WriteFile(filepath.Join(dir, file.Name), file.Body, 0o644); err != nil {
			return err
		}
	}
	return nil
}
