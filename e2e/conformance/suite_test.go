// Package conformance is the conformance suite of Gateway API as a test executable. It reads from the status of the
// GatewayClass what is claimed, so that nothing but Genkan says what is to be tested.
package conformance

import (
	"context"
	"flag"
	"fmt"
	"maps"
	"os"
	"slices"
	"strings"
	"testing"
	"time"

	"github.com/stretchr/testify/require"
	"k8s.io/apimachinery/pkg/util/sets"
	"sigs.k8s.io/controller-runtime/pkg/client"
	gatewayv1 "sigs.k8s.io/gateway-api/apis/v1"
	"sigs.k8s.io/gateway-api/conformance"
	confv1 "sigs.k8s.io/gateway-api/conformance/apis/v1"
	"sigs.k8s.io/gateway-api/conformance/tests"
	"sigs.k8s.io/gateway-api/conformance/utils/config"
	"sigs.k8s.io/gateway-api/conformance/utils/suite"
	"sigs.k8s.io/gateway-api/pkg/features"
	"sigs.k8s.io/yaml"
)

var (
	only   = flag.String("tests", "", "names of the tests to run, separated by commas, whatever is claimed; all if empty")
	report = flag.String("report", "", "file to write the report to, which is the same for the same results")
)

// profiles are all profiles of Gateways. Those of meshes are for what Genkan is not.
var profiles = []suite.ConformanceProfile{
	suite.GatewayGRPCConformanceProfile,
	suite.GatewayHTTPConformanceProfile,
	suite.GatewayTCPConformanceProfile,
	suite.GatewayTLSConformanceProfile,
	suite.GatewayUDPConformanceProfile,
}

func TestGatewayAPI(t *testing.T) {
	options := conformance.DefaultOptions(t)
	// Nothing of the cluster is needed afterwards.
	options.CleanupBaseResources = false
	hurry(&options.TimeoutConfig)

	claimed := claims(t, options.Client, options.GatewayClassName)
	chosen := tests.ConformanceTests
	if *only != "" {
		chosen = choose(t, strings.Split(*only, ","))
		for _, test := range chosen {
			claimed.Insert(test.Features...)
		}
		options.SupportedFeatures = sets.List(claimed)
	}
	for _, profile := range profiles {
		if claimed.IsSuperset(profile.CoreFeatures) {
			options.ConformanceProfiles = append(options.ConformanceProfiles, profile.Name)
		}
	}

	run, err := suite.NewConformanceTestSuite(options)
	require.NoError(t, err)
	// Parallel tests end after this function does, and before what is registered here.
	t.Cleanup(func() {
		if *report != "" {
			require.NoError(t, write(run, *report))
		}
	})
	run.Setup(t, chosen)
	// The driver measures by this line.
	fmt.Println("setup is done")
	require.NoError(t, run.Run(t, chosen))
}

// hurry shortens what only a test that fails waits for: up to three minutes by default, for a status that Genkan promises
// within a second.
func hurry(timeouts *config.TimeoutConfig) {
	const patience = 30 * time.Second
	for _, timeout := range []*time.Duration{
		&timeouts.GatewayMustHaveAddress, &timeouts.GatewayMustHaveCondition, &timeouts.GatewayStatusMustHaveListeners,
		&timeouts.GatewayListenersMustHaveConditions, &timeouts.ListenerSetMustHaveCondition,
		&timeouts.ListenerSetListenersMustHaveConditions, &timeouts.GWCMustBeAccepted, &timeouts.HTTPRouteMustNotHaveParents,
		&timeouts.HTTPRouteMustHaveCondition, &timeouts.TLSRouteMustHaveCondition, &timeouts.TCPRouteMustHaveCondition,
		&timeouts.UDPRouteMustHaveCondition, &timeouts.RouteMustHaveParents, &timeouts.LatestObservedGenerationSet,
	} {
		*timeout = patience
	}
	// Pods start meanwhile.
	timeouts.NamespacesMustBeReady = 2 * time.Minute
}

// claims is what the status of the class says is supported.
func claims(t *testing.T, api client.Client, name string) sets.Set[features.FeatureName] {
	class := &gatewayv1.GatewayClass{}
	require.NoError(t, api.Get(context.Background(), client.ObjectKey{Name: name}, class))
	claimed := sets.New[features.FeatureName]()
	for _, feature := range class.Status.SupportedFeatures {
		claimed.Insert(features.FeatureName(feature.Name))
	}
	return claimed
}

func choose(t *testing.T, names []string) []suite.ConformanceTest {
	byName := map[string]suite.ConformanceTest{}
	for _, test := range tests.ConformanceTests {
		byName[test.ShortName] = test
	}
	var chosen []suite.ConformanceTest
	for _, name := range names {
		test, ok := byName[name]
		if !ok {
			t.Fatalf("there is no test %q; there are %s", name, strings.Join(slices.Sorted(maps.Keys(byName)), ", "))
		}
		chosen = append(chosen, test)
	}
	return chosen
}

// write leaves the time out, and puts the profiles, which come from a map, in order.
func write(run *suite.ConformanceTestSuite, path string) error {
	made, err := run.Report()
	if err != nil {
		return err
	}
	slices.SortFunc(made.ProfileReports, func(a, b confv1.ProfileReport) int { return strings.Compare(a.Name, b.Name) })
	text, err := yaml.Marshal(made)
	if err != nil {
		return err
	}
	var fields map[string]any
	if err := yaml.Unmarshal(text, &fields); err != nil {
		return err
	}
	delete(fields, "date")
	if text, err = yaml.Marshal(fields); err != nil {
		return err
	}
	return os.WriteFile(path, text, 0o644)
}
