//go:build tools

// Package tools names the programs that are built from this module, so that go.mod and go.sum pin them.
package tools

import (
	_ "github.com/envoyproxy/gateway/cmd/envoy-gateway"
)
