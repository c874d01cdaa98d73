package openclaw_test

import (
	"archive/tar"
	"bytes"
	"compress/gzip"
	"encoding/json"
	"io"
	"os"
	"path/filepath"
	"slices"
	"strings"
	"testing"

	"fabric-guild/handlers/openclaw"
)

// The archive holds each file of the plugin once, below package/ as npm wants it, and is the same each time.
func TestArchive(t *testing.T) {
	t.Parallel()
	packed, err := openclaw.Archive("v1.2.3")
	if err != nil {
		t.Fatal(err)
	}
	if again, _ := openclaw.Archive("v1.2.3"); !bytes.Equal(packed, again) {
		t.Error("the same version has different bytes")
	}
	zip, err := gzip.NewReader(bytes.NewReader(packed))
	if err != nil {
		t.Fatal(err)
	}
	got := map[string]string{}
	for archive := tar.NewReader(zip); ; {
		header, err := archive.Next()
		if err == io.EOF {
			break
		}
		if err != nil {
			t.Fatal(err)
		}
		body, err := io.ReadAll(archive)
		if err != nil {
			t.Fatal(err)
		}
		got[header.Name] = string(body)
	}
	sources, err := filepath.Glob("plugin/*")
	if err != nil || len(sources) < 9 || len(got) != len(sources) {
		t.Fatalf("got %d files, want the %d of the plugin (%v)", len(got), len(sources), err)
	}
	for _, name := range sources {
		want, err := os.ReadFile(name)
		if err != nil {
			t.Fatal(err)
		}
		body := got["package/"+filepath.Base(name)]
		if filepath.Base(name) == "package.json" {
			want = bytes.Replace(want, []byte("0.0.0"), []byte("1.2.3"), 1)
		}
		if body != string(want) {
			t.Errorf("the archive has another %s", name)
		}
	}
}

// npm takes only versions of one form, so any other version of the program becomes 0.0.0.
func TestVersions(t *testing.T) {
	t.Parallel()
	for version, want := range map[string]string{
		"v1.2.3":     "1.2.3",
		"2.0.0-rc.1": "2.0.0-rc.1",
		"v0.0.0-20261128132050-9ac8e2a1b2c3+dirty": "0.0.0-20261128132050-9ac8e2a1b2c3+dirty",
		"unreleased":      "0.0.0",
		"":                "0.0.0",
		`v1.2.3", "x": "`: "0.0.0",
	} {
		for _, file := range openclaw.Files(version) {
			var manifest struct{ Version string }
			if file.Name != "package.json" {
				continue
			}
			if err := json.Unmarshal(file.Body, &manifest); err != nil || manifest.Version != want {
				t.Errorf("%q: got the version %q and %v, want %q", version, manifest.Version, err, want)
			}
		}
	}
}

// The entry that package.json names is there, and so is each module that a module imports. What OpenClaw
// reads before it runs the plugin names the same channel.
func TestFilesFitTogether(t *testing.T) {
	t.Parallel()
	var names []string
	for _, file := range openclaw.Files("") {
		names = append(names, file.Name)
	}
	for _, file := range openclaw.Files("") {
		for line := range strings.Lines(string(file.Body)) {
			_, module, found := strings.Cut(line, " from './")
			if name, _, _ := strings.Cut(module, "'"); found && !slices.Contains(names, name) {
				t.Errorf("%s imports %s, which is not in the package", file.Name, name)
			}
		}
	}
	var manifest struct {
		ID       string
		Channels []string
	}
	read(t, "openclaw.plugin.json", &manifest)
	var npm struct {
		OpenClaw struct {
			Extensions []string
			Channel    struct{ ID string }
		}
	}
	read(t, "package.json", &npm)
	entry := strings.TrimPrefix(npm.OpenClaw.Extensions[0], "./")
	if manifest.ID != "fabric" || manifest.Channels[0] != "fabric" || npm.OpenClaw.Channel.ID != "fabric" {
		t.Errorf("got the manifests %+v and %+v, want the channel fabric", manifest, npm)
	}
	if !slices.Contains(names, entry) {
		t.Errorf("the entry %s is not in the package", entry)
	}
}

func read(t *testing.T, name string, into any) {
	t.Helper()
	for _, file := range openclaw.Files("") {
		if file.Name == name {
			if err := json.Unmarshal(file.Body, into); err != nil {
				t.Fatal(err)
			}
			return
		}
	}
	t.Fatalf("there is no %s", name)
}

// Write replaces an older version of the plugin and leaves no module of it, and touches no other directory.
func TestWrite(t *testing.T) {
	t.Parallel()
	dir := filepath.Join(t.TempDir(), "new", "plugin")
	if err := openclaw.Write(dir, "v1.0.0"); err != nil {
		t.Fatal(err)
	}
	if err := os.WriteFile(filepath.Join(dir, "old.js"), nil, 0o644); err != nil {
		t.Fatal(err)
	}
	if err := openclaw.Write(dir, "v1.1.0"); err != nil {
		t.Fatal(err)
	}
	entries, err := os.ReadDir(dir)
	if err != nil || len(entries) != len(openclaw.Files("")) {
		t.Errorf("got %d files and %v, want the %d of the plugin", len(entries), err, len(openclaw.Files("")))
	}
	body, err := os.ReadFile(filepath.Join(dir, "package.json"))
	if err != nil || !strings.Contains(string(body), `"version": "1.1.0"`) {
		t.Errorf("got %s and %v, want the version 1.1.0", body, err)
	}

	other := t.TempDir()
	if err := os.WriteFile(filepath.Join(other, "mine.js"), []byte("1"), 0o644); err != nil {
		t.Fatal(err)
	}
	if err := openclaw.Write(other, ""); err == nil {
		t.Error("got no error for a directory with other files")
	}
	if entries, _ := os.ReadDir(other); len(entries) != 1 {
		t.Errorf("got %d files in somebody else's directory, want 1", len(entries))
	}
}
