// Command validator holds a package against elastic/package-spec, Elastic's own description of packages, with nothing
// filtered out: once as the library has always checked, where every warning counts as an error, and once as a built
// package, where what only a source tree may hold is refused.
package main

import (
	"fmt"
	"os"

	"github.com/elastic/package-spec/v3/code/go/pkg/validator"
)

func main() {
	if len(os.Args) != 2 {
		fmt.Fprintln(os.Stderr, "usage: validator PACKAGE.zip")
		os.Exit(2)
	}
	refused := false
	for _, mode := range []validator.Mode{validator.LegacyMode, validator.BuildMode} {
		// of a built package the library itself warns that this mode is new
		strict := validator.WithWarningsAsErrors(mode == validator.LegacyMode)
		checker, err := validator.New(mode, strict)
		if err == nil {
			err = checker.ValidateFromZip(os.Args[1])
		}
		if err != nil {
			refused = true
			fmt.Printf("%s: %v\n", mode, err)
		}
	}
	if refused {
		os.Exit(1)
	}
	fmt.Println("accepted")
}
