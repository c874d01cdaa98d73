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

// unpackBytes is how many bytes of an unpacked archive are read at most.
const unpackBytes = 1 << 30

// unpack makes dir and writes the directories, files and links of a tar.gz into it. It writes nothing outside
// dir: an entry that leads outside is an error.
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

// unpackEntry writes one entry of the archive. It skips entries that are no directory, file or symbolic link,
// because a server does not need them.
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
		return root.Symlink(h.Linkname, name) // root does not follow a link that leads outside
	case tar.TypeReg:
		// The server's user must be able to read the files. Only the user of this program may write them.
		mode := h.FileInfo().Mode()&0o111 | 0o644
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
		return root.Chmod(name, mode) // overrides the umask
	}
	return nil
}

// makeDirsIn makes dir and its missing parents below root, like MakeDirs.
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
