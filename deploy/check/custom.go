package check

import (
	"encoding/json"
	"errors"
	"fmt"
	"os"
	"path/filepath"
	"slices"
	"strings"
	"sync"

	"k8s.io/apiextensions-apiserver/pkg/apis/apiextensions"
	crdv1 "k8s.io/apiextensions-apiserver/pkg/apis/apiextensions/v1"
	"k8s.io/apiextensions-apiserver/pkg/apiserver/schema"
	"k8s.io/apiextensions-apiserver/pkg/apiserver/schema/pruning"
	"k8s.io/apiextensions-apiserver/pkg/apiserver/validation"
	"sigs.k8s.io/yaml"
)

// crdModule is a Go module in which an operator ships its CRDs. Only the files are used, so the module is in no go.mod;
// sum is what go.sum would hold.
type crdModule struct{ module, sum, dir string }

// crdModules lists where the CRDs are taken from. Strimzi ships its CRDs in no package that a registry serves: the few
// fields that KafkaTopics use stand in testdata/kafkatopic-crd.yaml, written from Strimzi's documentation.
var crdModules = []crdModule{
	{"github.com/kedacore/keda/v2@v2.16.1", "h1:LfYsxfSX8DjetLW8q9qnriImH936POrQJvE+caRoScI=", "config/crd/bases"},
	{"github.com/prometheus-operator/prometheus-operator@v0.79.2", "h1:H/HCiMS4dXQyiFHw28PFlWMh15YUraL3MFe8u7k7dGA=", "example/prometheus-operator-crd"},
}

// crdKinds are the kinds that may stand in the manifests.
var crdKinds = []string{"ScaledObject", "TriggerAuthentication", "PodMonitor", "PrometheusRule", "KafkaTopic"}

// CRDFiles returns the paths of the CRDs of the kinds in use, by kind.
func CRDFiles() (map[string]string, error) { return crdFiles() }

var crdFiles = sync.OnceValues(func() (map[string]string, error) {
	dirs := []string{"testdata"}
	for _, m := range crdModules {
		dir, err := m.download()
		if err != nil {
			return nil, err
		}
		dirs = append(dirs, dir)
	}
	files := map[string]string{}
	for _, dir := range dirs {
		paths, err := filepath.Glob(filepath.Join(dir, "*.yaml"))
		if err != nil {
			return nil, err
		}
		for _, path := range paths {
			if crd, err := readCRD(path); err == nil && slices.Contains(crdKinds, crd.Spec.Names.Kind) {
				files[crd.Spec.Names.Kind] = path
			}
		}
	}
	for _, kind := range crdKinds {
		if files[kind] == "" {
			return nil, fmt.Errorf("the CRD of %s was not found in %s", kind, strings.Join(dirs, ", "))
		}
	}
	return files, nil
})

// download returns the folder of the module's CRDs in the module cache.
func (m crdModule) download() (string, error) {
	out, err := run(os.TempDir(), "go", "mod", "download", "-json", m.module)
	if err != nil {
		return "", err
	}
	var got struct{ Dir, Sum, Error string }
	if err := json.Unmarshal([]byte(out[max(strings.Index(out, "{"), 0):]), &got); err != nil {
		return "", err
	}
	if got.Sum != m.sum {
		return "", fmt.Errorf("%s has the sum %s, not %s %s", m.module, got.Sum, m.sum, got.Error)
	}
	return filepath.Join(got.Dir, filepath.FromSlash(m.dir)), nil
}

func readCRD(path string) (*crdv1.CustomResourceDefinition, error) {
	raw, err := os.ReadFile(path)
	if err != nil {
		return nil, err
	}
	crd := &crdv1.CustomResourceDefinition{}
	if err := yaml.Unmarshal(raw, crd); err != nil {
		return nil, fmt.Errorf("%s: %w", path, err)
	}
	if crd.Kind != "CustomResourceDefinition" {
		return nil, fmt.Errorf("%s: is no CustomResourceDefinition", path)
	}
	return crd, nil
}

// Custom holds the custom resources against their CRDs: unknown fields, and values that the schema refuses.
func (o Overlay) Custom() []Finding {
	var found findings
	files, err := CRDFiles()
	if err != nil {
		found.fail("CRDs", err)
		return found
	}
	for _, x := range o.Objects {
		if x.Typed != nil {
			continue
		}
		path, ok := files[x.Kind]
		if !ok {
			found.add(o.where(x), "no API that is known has this kind")
			continue
		}
		found.fail(o.where(x), fits(x, path))
	}
	return found
}

// fits holds one object against one CRD.
func fits(x Object, path string) error {
	crd, err := readCRD(path)
	if err != nil {
		return err
	}
	group, version, _ := strings.Cut(fmt.Sprint(x.Fields["apiVersion"]), "/")
	i := slices.IndexFunc(crd.Spec.Versions, func(v crdv1.CustomResourceDefinitionVersion) bool { return v.Name == version && v.Served })
	if group != crd.Spec.Group || i < 0 {
		return fmt.Errorf("apiVersion %s/%s is not served", group, version)
	}
	var internal apiextensions.JSONSchemaProps
	if err := crdv1.Convert_v1_JSONSchemaProps_To_apiextensions_JSONSchemaProps(crd.Spec.Versions[i].Schema.OpenAPIV3Schema, &internal, nil); err != nil {
		return err
	}
	structural, err := schema.NewStructural(&internal)
	if err != nil {
		return err
	}
	validator, _, err := validation.NewSchemaValidator(&internal)
	if err != nil {
		return err
	}
	var problems []error
	for _, e := range validation.ValidateCustomResource(nil, x.Fields, validator) {
		problems = append(problems, e)
	}
	raw, err := json.Marshal(x.Fields)
	if err != nil {
		return err
	}
	var copied map[string]any
	if err := json.Unmarshal(raw, &copied); err != nil {
		return err
	}
	unknown := pruning.PruneWithOptions(copied, structural, true, schema.UnknownFieldPathOptions{TrackUnknownFieldPaths: true})
	for _, field := range unknown {
		problems = append(problems, fmt.Errorf("unknown field %q", field))
	}
	return errors.Join(problems...)
}
