package check

import (
	"encoding/json"
	"fmt"
	"io/fs"
	"os"
	"path/filepath"
	"slices"
	"strings"

	"k8s.io/apimachinery/pkg/runtime"
	jsonserializer "k8s.io/apimachinery/pkg/runtime/serializer/json"
	"k8s.io/client-go/kubernetes/scheme"
	"sigs.k8s.io/kustomize/api/krusty"
	"sigs.k8s.io/kustomize/api/types"
	"sigs.k8s.io/kustomize/kyaml/filesys"
	"sigs.k8s.io/yaml"
)

// Object is one rendered object: as it was written, and as Kubernetes reads it (nil for a custom resource).
type Object struct {
	Kind, Name string
	YAML       []byte
	Fields     map[string]any
	Typed      runtime.Object
}

// Overlay is what one overlay renders to.
type Overlay struct {
	Name    string
	Objects []Object
}

// Overlays renders every overlay below deploy/k8s/overlays.
func (t Tree) Overlays() ([]Overlay, []Finding) {
	var found findings
	found = append(found, t.kustomizations()...)
	dirs, err := os.ReadDir(t.path("k8s/overlays"))
	found.fail("k8s/overlays", err)
	var all []Overlay
	for _, dir := range dirs {
		o, problems := t.render(dir.Name())
		found = append(found, problems...)
		all = append(all, o)
	}
	return all, found
}

// kustomizations looks for what kustomize would warn about, or quietly ignore.
func (t Tree) kustomizations() []Finding {
	var found findings
	err := filepath.WalkDir(t.path("k8s"), func(path string, entry fs.DirEntry, err error) error {
		if err != nil || entry.Name() != "kustomization.yaml" {
			return err
		}
		where := t.short(path)
		raw, err := os.ReadFile(path)
		if err != nil {
			return err
		}
		var k types.Kustomization
		found.fail(where, yaml.UnmarshalStrict(raw, &k))
		for _, warning := range *k.CheckDeprecatedFields() {
			found.add(where, "%s", warning)
		}
		return nil
	})
	found.fail("k8s", err)
	return found
}

func (t Tree) render(name string) (Overlay, []Finding) {
	var found findings
	overlay := Overlay{Name: name}
	where := "k8s/overlays/" + name
	rendered, err := krusty.MakeKustomizer(krusty.MakeDefaultOptions()).Run(filesys.MakeFsOnDisk(), t.path(where))
	if err != nil {
		found.fail(where, err)
		return overlay, found
	}
	for _, resource := range rendered.Resources() {
		raw, err := resource.AsYAML()
		if err != nil {
			found.fail(where, err)
			continue
		}
		o := Object{Kind: resource.GetKind(), Name: resource.GetName(), YAML: raw}
		found.fail(overlay.where(o), yaml.Unmarshal(raw, &o.Fields))
		if scheme.Scheme.IsGroupRegistered(resource.GetGvk().Group) {
			o.Typed, err = decode(raw)
			found.fail(overlay.where(o), err)
		}
		overlay.Objects = append(overlay.Objects, o)
	}
	return overlay, found
}

// decode reads an object of Kubernetes' own API; a field that its type does not have is an error.
func decode(raw []byte) (runtime.Object, error) {
	strict := jsonserializer.NewSerializerWithOptions(jsonserializer.DefaultMetaFactory, scheme.Scheme, scheme.Scheme,
		jsonserializer.SerializerOptions{Yaml: true, Strict: true})
	object, _, err := strict.Decode(raw, nil, nil)
	return object, err
}

func (o Overlay) where(object Object) string {
	return fmt.Sprintf("%s: %s %s", o.Name, object.Kind, object.Name)
}

// of lists the objects of one kind.
func (o Overlay) of(kind string) []Object {
	return slices.DeleteFunc(slices.Clone(o.Objects), func(x Object) bool { return x.Kind != kind })
}

// find returns the object of a kind and name; one whose name got a hash of its content counts too.
func (o Overlay) find(kind, name string) (Object, bool) {
	i := slices.IndexFunc(o.Objects, func(x Object) bool {
		return x.Kind == kind && (x.Name == name || strings.HasPrefix(x.Name, name+"-") && len(x.Name) == len(name)+11)
	})
	if i < 0 {
		return Object{}, false
	}
	return o.Objects[i], true
}

// into reads an object's fields into a type of the caller's; what that does not know is left out.
func (x Object) into(to any) error {
	raw, err := json.Marshal(x.Fields)
	if err != nil {
		return err
	}
	return json.Unmarshal(raw, to)
}
