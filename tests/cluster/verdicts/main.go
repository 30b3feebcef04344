// Tells what tools say of objects: kstatus (Flux, Helm, kpt), the health checks of Argo CD, which are Lua, expressions of
// Flux, which are CEL, and whether Flux knows each field of a HelmRelease.
//
//	verdicts kstatus              < objects
//	verdicts argocd argocd-cm.yaml < objects
//	verdicts flux EXPRESSION       < objects
//	verdicts helmrelease           < objects
//
// Objects are JSON texts, one after the other. Each gets a line of JSON: its status and message.
package main

import (
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"io"
	"os"
	"time"

	"github.com/fluxcd/cli-utils/pkg/kstatus/status"
	helm "github.com/fluxcd/helm-controller/api/v2"
	"github.com/google/cel-go/cel"
	lua "github.com/yuin/gopher-lua"
	"k8s.io/apimachinery/pkg/apis/meta/v1/unstructured"
	strict "sigs.k8s.io/json"
	"sigs.k8s.io/yaml"
)

type verdict struct {
	Status  string `json:"status"`
	Message string `json:"message"`
}

type judge func(object *unstructured.Unstructured) (verdict, error)

func main() {
	judge, err := chosen(os.Args[1:])
	if err == nil {
		err = judgeAll(judge)
	}
	if err != nil {
		fmt.Fprintln(os.Stderr, "verdicts:", err)
		os.Exit(1)
	}
}

func chosen(arguments []string) (judge, error) {
	switch {
	case len(arguments) == 1 && arguments[0] == "kstatus":
		return kstatus, nil
	case len(arguments) == 1 && arguments[0] == "helmrelease":
		return helmRelease, nil
	case len(arguments) == 2 && arguments[0] == "argocd":
		return argocd(arguments[1])
	case len(arguments) == 2 && arguments[0] == "flux":
		return flux(arguments[1])
	}
	return nil, errors.New("usage: verdicts kstatus | verdicts argocd FILE | verdicts flux EXPRESSION | verdicts helmrelease")
}

func judgeAll(judge judge) error {
	input, output := json.NewDecoder(os.Stdin), json.NewEncoder(os.Stdout)
	for {
		var text json.RawMessage
		if err := input.Decode(&text); errors.Is(err, io.EOF) {
			return nil
		} else if err != nil {
			return err
		}
		object := &unstructured.Unstructured{}
		if err := object.UnmarshalJSON(text); err != nil {
			return err
		}
		found, err := judge(object)
		if err != nil {
			return fmt.Errorf("%s %s: %w", object.GetKind(), object.GetName(), err)
		}
		if err := output.Encode(found); err != nil {
			return err
		}
	}
}

func kstatus(object *unstructured.Unstructured) (verdict, error) {
	result, err := status.Compute(object)
	if err != nil {
		return verdict{}, err
	}
	return verdict{result.Status.String(), result.Message}, nil
}

// helmRelease reads an object into the type that Flux's controller has of it: each field must be there, and of its type.
func helmRelease(object *unstructured.Unstructured) (verdict, error) {
	if kind := object.GroupVersionKind(); kind != helm.GroupVersion.WithKind(helm.HelmReleaseKind) {
		return verdict{"Refused", fmt.Sprintf("it is a %s, which Flux does not know", kind)}, nil
	}
	text, err := object.MarshalJSON()
	if err != nil {
		return verdict{}, err
	}
	unknown, err := strict.UnmarshalStrict(text, &helm.HelmRelease{})
	if err := errors.Join(append(unknown, err)...); err != nil {
		return verdict{"Refused", err.Error()}, nil
	}
	return verdict{Status: "Read"}, nil
}

// flux returns whether an expression of healthCheckExprs holds; its variables are the parts of the object.
func flux(expression string) (judge, error) {
	parts := []cel.EnvOption{}
	for _, name := range []string{"apiVersion", "kind", "metadata", "spec", "status"} {
		parts = append(parts, cel.Variable(name, cel.DynType))
	}
	environment, err := cel.NewEnv(parts...)
	if err != nil {
		return nil, err
	}
	checked, issues := environment.Compile(expression)
	if issues.Err() != nil {
		return nil, issues.Err()
	}
	program, err := environment.Program(checked)
	if err != nil {
		return nil, err
	}
	return func(object *unstructured.Unstructured) (verdict, error) {
		answer, _, err := program.Eval(object.Object)
		if err != nil {
			return verdict{}, err
		}
		return verdict{Status: fmt.Sprint(answer.Value())}, nil
	}, nil
}

// argocd reads the ConfigMap with Argo CD's settings, and runs its checks as Argo CD does: with few libraries, in a
// second at most.
func argocd(file string) (judge, error) {
	text, err := os.ReadFile(file)
	if err != nil {
		return nil, err
	}
	var settings struct {
		Data map[string]string `json:"data"`
	}
	if err := yaml.Unmarshal(text, &settings); err != nil {
		return nil, err
	}
	return func(object *unstructured.Unstructured) (verdict, error) {
		if object.GetDeletionTimestamp() != nil {
			return verdict{"Progressing", "Pending deletion"}, nil
		}
		kind := object.GroupVersionKind()
		key := fmt.Sprintf("resource.customizations.health.%s_%s", kind.Group, kind.Kind)
		script, there := settings.Data[key]
		if !there {
			return verdict{}, fmt.Errorf("%s has no %s", file, key)
		}
		return health(script, object)
	}, nil
}

func health(script string, object *unstructured.Unstructured) (verdict, error) {
	state := lua.NewState(lua.Options{SkipOpenLibs: true})
	defer state.Close()
	for name, open := range map[string]lua.LGFunction{lua.BaseLibName: lua.OpenBase, lua.TabLibName: lua.OpenTable} {
		state.Push(state.NewFunction(open))
		state.Push(lua.LString(name))
		if err := state.PCall(1, 0, nil); err != nil {
			return verdict{}, err
		}
	}
	limit, cancel := context.WithTimeout(context.Background(), time.Second)
	defer cancel()
	state.SetContext(limit)
	state.SetGlobal("obj", value(state, object.Object))
	if err := state.DoString(script); err != nil {
		return verdict{}, err
	}
	answer, isTable := state.Get(-1).(*lua.LTable)
	if !isTable {
		return verdict{}, fmt.Errorf("the check returns a %s, not a table", state.Get(-1).Type())
	}
	found := verdict{lua.LVAsString(answer.RawGetString("status")), lua.LVAsString(answer.RawGetString("message"))}
	switch found.Status {
	case "Healthy", "Progressing", "Degraded", "Suspended":
		return found, nil
	}
	return verdict{}, fmt.Errorf("the check returns the status %q, which Argo CD does not know", found.Status)
}

func value(state *lua.LState, of any) lua.LValue {
	switch of := of.(type) {
	case bool:
		return lua.LBool(of)
	case float64:
		return lua.LNumber(of)
	case int64:
		return lua.LNumber(of)
	case string:
		return lua.LString(of)
	case []any:
		table := state.CreateTable(len(of), 0)
		for _, item := range of {
			table.Append(value(state, item))
		}
		return table
	case map[string]any:
		table := state.CreateTable(0, len(of))
		for key, item := range of {
			table.RawSetString(key, value(state, item))
		}
		return table
	}
	return lua.LNil
}
