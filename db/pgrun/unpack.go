package pgrun

import (
	"archive/tar"
	"compress/gzip"
	"errors"
	"io"
	"io/fs"
	"os"
	"path"
	"path/filepath"
)

// unpackBytes bounds what an archive unpacks to.
const unpackBytes = 1 << 30

// unpack writes the directories, files and links of a tar.gz below dir, and nothing outside of it.
func unpack(archive, dir string) error {
	f, err := os.Open(archive)
	if err != nil {
		return err
	}
	defer func() { _ = f.Close() }()
	z, err := gzip.NewReader(f)
	if err != nil {
		return err
	}
	if err := os.Mkdir(dir, 0o755); err != nil {
		return err
	}
	root, err := os.OpenRoot(dir)
	if err != nil {
		return err
	}
	defer func() { _ = root.Close() }()
	t := tar.NewReader(io.LimitReader(z, unpackBytes))
	for {
		h, err := t.Next()
		if errors.Is(err, io.EOF) {
			return nil
		}
		if err == nil {
			err = unpackEntry(root, t, h)
		}
		if err != nil {
			return err
		}
	}
}

func unpackEntry(root *os.Root, t *tar.Reader, h *tar.Header) error {
	name := filepath.FromSlash(path.Clean(h.Name))
	if h.Typeflag == tar.TypeDir {
		return makeDirsIn(root, name)
	}
	if err := makeDirsIn(root, filepath.Dir(name)); err != nil {
		return err
	}
	switch h.Typeflag {
	case tar.TypeSymlink:
		return root.Symlink(h.Linkname, name) // the root is not left through it
	case tar.TypeReg:
		mode := h.FileInfo().Mode()&0o111 | 0o644 // for the server's user to read, and for none but us to write
		if mode&0o111 != 0 {
			mode |= 0o111
		}
		f, err := root.OpenFile(name, os.O_CREATE|os.O_EXCL|os.O_WRONLY, mode)
		if err != nil {
			return err
		}
		if _, err := io.Copy(f, t); err != nil {
			_ = f.Close()
			return err
		}
		if err := f.Close(); err != nil {
			return err
		}
		return root.Chmod(name, mode) // whatever the umask
	}
	return nil // what else an archive may hold, a server does not need
}

// makeDirsIn is makeDirs below a root.
func makeDirsIn(root *os.Root, dir string) error {
	if dir == "." {
		return nil
	}
	if err := makeDirsIn(root, filepath.Dir(dir)); err != nil {
		return err
	}
	if err := root.Mkdir(dir, 0o755); err != nil && !errors.Is(err, fs.ErrExist) {
		return err
	}
	return root.Chmod(dir, 0o755)
}
