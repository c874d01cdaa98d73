package events

import (
	"go/ast"
	"go/parser"
	"go/token"
	"path/filepath"
	"slices"
	"strings"
	"testing"
)

// The package has no clock, no goroutine and no channel. TestImports keeps the locks and the I/O out.
func TestThePackageIsPure(t *testing.T) {
	t.Parallel()
	allowed := []string{"Time"} // of package time: types and layouts read no clock
	files, err := filepath.Glob("*.go")
	if err != nil {
		t.Fatal(err)
	}
	fset := token.NewFileSet()
	for _, name := range files {
		if strings.HasSuffix(name, "_test.go") {
			continue
		}
		file, err := parser.ParseFile(fset, name, nil, 0)
		if err != nil {
			t.Fatal(err)
		}
		ast.Inspect(file, func(n ast.Node) bool {
			switch n := n.(type) {
			case *ast.GoStmt, *ast.SelectStmt, *ast.ChanType, *ast.SendStmt:
				t.Errorf("%s: got a %T, want no goroutine and no channel", fset.Position(n.Pos()), n)
			case *ast.SelectorExpr:
				if x, ok := n.X.(*ast.Ident); ok && x.Name == "time" &&
					!slices.Contains(allowed, n.Sel.Name) {
					t.Errorf("%s: got time.%s, want no clock", fset.Position(n.Pos()), n.Sel.Name)
				}
			}
			return true
		})
	}
}
