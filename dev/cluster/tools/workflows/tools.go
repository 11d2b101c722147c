//go:build tools

// Package tools pins what is built from this module.
package tools

import (
	_ "github.com/rhysd/actionlint/cmd/actionlint"
)
