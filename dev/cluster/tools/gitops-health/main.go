// What GitOps tools read from an object, by their own code: kstatus (Flux, `helm --wait`) and Argo CD.
//
//	gitops-health health SCRIPT   objects on standard input → {"kstatus": …, "argocd": …} for each
//	gitops-health diff            {"config": …, "live": …} on standard input → {"modified": …} for each
//
// SCRIPT is the health.lua that an administrator of Argo CD puts into the ConfigMap argocd-cm.
package main

import (
	"encoding/json"
	"errors"
	"fmt"
	"io"
	"os"

	"github.com/argoproj/argo-cd/v3/pkg/apis/application/v1alpha1"
	"github.com/argoproj/argo-cd/v3/util/lua"
	"github.com/argoproj/gitops-engine/pkg/diff"
	"github.com/argoproj/gitops-engine/pkg/health"
	"github.com/fluxcd/cli-utils/pkg/kstatus/status"
	"k8s.io/apimachinery/pkg/apis/meta/v1/unstructured"
)

type result struct {
	Status  string `json:"status"`
	Message string `json:"message"`
}

type healthResults struct {
	Kstatus result `json:"kstatus"`
	ArgoCD  result `json:"argocd"`
}

type difference struct {
	Modified   bool            `json:"modified"`
	Normalized json.RawMessage `json:"normalized"`
	Predicted  json.RawMessage `json:"predicted"`
}

func main() {
	if err := run(os.Args[1:]); err != nil {
		fmt.Fprintln(os.Stderr, "gitops-health:", err)
		os.Exit(1)
	}
}

func run(arguments []string) error {
	switch {
	case len(arguments) == 2 && arguments[0] == "health":
		script, err := os.ReadFile(arguments[1])
		if err != nil {
			return err
		}
		return forEach(func(obj *unstructured.Unstructured) (any, error) {
			return healthOf(obj, string(script))
		})
	case len(arguments) == 1 && arguments[0] == "diff":
		return forEach(differenceIn)
	}
	return errors.New("usage: gitops-health health SCRIPT | gitops-health diff")
}

// forEach answers each JSON object on standard input with one on standard output.
func forEach(answer func(*unstructured.Unstructured) (any, error)) error {
	output := json.NewEncoder(os.Stdout)
	for input := json.NewDecoder(os.Stdin); ; {
		var text json.RawMessage
		if err := input.Decode(&text); errors.Is(err, io.EOF) {
			return nil
		} else if err != nil {
			return err
		}
		obj, err := parsed(text)
		if err != nil {
			return err
		}
		answered, err := answer(obj)
		if err != nil {
			return err
		}
		if err := output.Encode(answered); err != nil {
			return err
		}
	}
}

// parsed reads numbers as Kubernetes' clients do: whole ones are integers.
func parsed(text []byte) (*unstructured.Unstructured, error) {
	content := map[string]any{}
	wrapped, err := json.Marshal(map[string]any{
		"apiVersion": "v1", "kind": "Wrapped", "content": json.RawMessage(text),
	})
	if err != nil {
		return nil, err
	}
	obj := &unstructured.Unstructured{Object: content}
	if err := obj.UnmarshalJSON(wrapped); err != nil {
		return nil, err
	}
	inner, _, err := unstructured.NestedMap(obj.Object, "content")
	return &unstructured.Unstructured{Object: inner}, err
}

func healthOf(obj *unstructured.Unstructured, script string) (any, error) {
	computed, err := status.Compute(obj)
	if err != nil {
		return nil, fmt.Errorf("kstatus: %w", err)
	}
	kind := obj.GroupVersionKind().GroupKind()
	overrides := lua.ResourceHealthOverrides{
		kind.Group + "/" + kind.Kind: v1alpha1.ResourceOverride{HealthLua: script},
	}
	judged, err := health.GetResourceHealth(obj, overrides)
	if err != nil {
		return nil, fmt.Errorf("Argo CD: %w", err)
	}
	results := healthResults{Kstatus: result{string(computed.Status), computed.Message}}
	if judged != nil {
		results.ArgoCD = result{string(judged.Status), judged.Message}
	}
	return results, nil
}

// differenceIn compares as Argo CD does by default, with the annotation of `kubectl apply`.
func differenceIn(pair *unstructured.Unstructured) (any, error) {
	config, _, err := unstructured.NestedMap(pair.Object, "config")
	if err != nil {
		return nil, err
	}
	live, _, err := unstructured.NestedMap(pair.Object, "live")
	if err != nil {
		return nil, err
	}
	found, err := diff.Diff(
		&unstructured.Unstructured{Object: config}, &unstructured.Unstructured{Object: live},
	)
	if err != nil {
		return nil, fmt.Errorf("Argo CD: %w", err)
	}
	return difference{found.Modified, found.NormalizedLive, found.PredictedLive}, nil
}
