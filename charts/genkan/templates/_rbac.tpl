{{/*
What the controller may do, and where. Rules are given only for what the flags make it do.

  watched     the kinds of every watched namespace: a ClusterRole, or with controller.scope a Role in that namespace
  cluster     kinds without a namespace: a ClusterRole, none with rbac.scope
  own         what is written in the release's namespace: a Role
  elsewhere   with controller.scope, single objects that flags name in other namespaces: a Role in each
*/}}

{{- define "genkan.rbac.writesStatus" -}}
{{- $flags := include "genkan.controller.flags" . | fromYaml -}}
{{- ne (include "genkan.text" (get $flags "update-status")) "false" -}}
{{- end -}}

{{/*
Nodes are read for the status when it is written and nothing else gives an address, and for the zone that the controller is in.
*/}}
{{- define "genkan.rbac.readsNodes" -}}
{{- $flags := include "genkan.controller.flags" . | fromYaml -}}
{{- $address := or (hasKey $flags "publish-service") (hasKey $flags "publish-status-address") -}}
{{- $routing := "enable-topology-aware-routing" -}}
{{- $zones := and (hasKey $flags $routing) (ne (include "genkan.text" (get $flags $routing)) "false") -}}
{{- $published := and (not $address) (eq (include "genkan.rbac.writesStatus" .) "true") -}}
{{- or $published $zones -}}
{{- end -}}

{{- define "genkan.rbac.watchedNamespace" -}}
{{- $namespace := include "genkan.namespace" . -}}
{{- .Values.controller.scope.namespace | default $namespace | replace "$(POD_NAMESPACE)" $namespace -}}
{{- end -}}

{{- define "genkan.rbac.watched" -}}
- apiGroups: [""]
  resources: [configmaps, secrets, services]
  verbs: [get, list, watch]
- apiGroups: [discovery.k8s.io]
  resources: [endpointslices]
  verbs: [get, list, watch]
- apiGroups: [networking.k8s.io]
  resources: [ingresses]
  verbs: [get, list, watch]
- apiGroups: [gateway.networking.k8s.io]
  resources:
    - backendtlspolicies
    - gateways
    - grpcroutes
    - httproutes
    - listenersets
    - referencegrants
    - tcproutes
    - tlsroutes
    - udproutes
  verbs: [get, list, watch]
- apiGroups: [gateway.networking.x-k8s.io]
  resources: [xbackends, xbackendtrafficpolicies]
  verbs: [get, list, watch]
- apiGroups: [genkan.dev]
  resources: [gatewayparameters, listenerpolicies, routepolicies]
  verbs: [get, list, watch]
{{- if include "genkan.gatewayServices" . }}
{{- /* Services of Gateways and where they lead to. gateway-services.yaml sees to it that no others are touched. */}}
- apiGroups: [""]
  resources: [services]
  verbs: [create, delete, patch]
- apiGroups: [discovery.k8s.io]
  resources: [endpointslices]
  verbs: [create, delete, update]
{{- end }}
{{- if eq (include "genkan.rbac.writesStatus" .) "true" }}
- apiGroups: [networking.k8s.io]
  resources: [ingresses/status]
  verbs: [patch]
- apiGroups: [gateway.networking.k8s.io]
  resources:
    - backendtlspolicies/status
    - gateways/status
    - grpcroutes/status
    - httproutes/status
    - listenersets/status
    - tcproutes/status
    - tlsroutes/status
    - udproutes/status
  verbs: [patch]
- apiGroups: [gateway.networking.x-k8s.io]
  resources: [xbackends/status, xbackendtrafficpolicies/status]
  verbs: [patch]
- apiGroups: [genkan.dev]
  resources: [listenerpolicies/status, routepolicies/status]
  verbs: [patch]
{{- end }}
{{ include "genkan.rbac.events" . }}
{{- end -}}

{{- define "genkan.rbac.events" -}}
- apiGroups: [events.k8s.io]
  resources: [events]
  verbs: [create, patch]
{{- end -}}

{{- define "genkan.rbac.cluster" -}}
- apiGroups: [networking.k8s.io]
  resources: [ingressclasses]
  verbs: [get, list, watch]
- apiGroups: [gateway.networking.k8s.io]
  resources: [gatewayclasses]
  verbs: [get, list, watch]
{{- if eq (include "genkan.rbac.writesStatus" .) "true" }}
- apiGroups: [gateway.networking.k8s.io]
  resources: [gatewayclasses/status]
  verbs: [patch]
{{- /* It tells which release of Gateway API is installed, for the condition SupportedVersion of classes. */}}
- apiGroups: [apiextensions.k8s.io]
  resources: [customresourcedefinitions]
  resourceNames: [gatewayclasses.gateway.networking.k8s.io]
  verbs: [get]
{{- end }}
- apiGroups: [""]
  resources: [namespaces]
  verbs: [get, list, watch]
{{- if eq (include "genkan.rbac.readsNodes" .) "true" }}
- apiGroups: [""]
  resources: [nodes]
  verbs: [get]
{{- end }}
{{- end -}}

{{- define "genkan.rbac.own" -}}
{{- /* Its own pod and the others of its kind: for statuses, when they are cleared or nodes give the address. */ -}}
- apiGroups: [""]
  resources: [pods]
  verbs: [get, list]
{{- if include "genkan.gatewayServices" . }}
- apiGroups: [discovery.k8s.io]
  resources: [endpointslices]
  verbs: [get, list, watch]
{{- end }}
{{ include "genkan.rbac.events" . }}
{{- $flags := include "genkan.controller.flags" . | fromYaml }}
{{- $alone := "disable-leader-election" }}
{{- if or (not (hasKey $flags $alone)) (eq (include "genkan.text" (get $flags $alone)) "false") }}
- apiGroups: [coordination.k8s.io]
  resources: [leases]
  resourceNames:
    - {{ get $flags "election-id" }}
  verbs: [get, update, watch]
- apiGroups: [coordination.k8s.io]
  resources: [leases]
  verbs: [create]
{{- end }}
{{- if eq (include "genkan.admission.mode" .) "self" }}
- apiGroups: [""]
  resources: [secrets]
  resourceNames:
    - {{ include "genkan.admission.secretName" . }}
  verbs: [get, update]
- apiGroups: [""]
  resources: [secrets]
  verbs: [create]
{{- end }}
{{- end -}}

{{/*
With controller.scope: namespaces besides the watched one, each with rules for the single objects that flags name there,
and default for Events about GatewayClasses: the API takes those about what has no namespace nowhere else. YAML of
namespace -> rules.
*/}}
{{- define "genkan.rbac.elsewhere" -}}
{{- $release := include "genkan.namespace" . -}}
{{- $watched := include "genkan.rbac.watchedNamespace" . -}}
{{- $kinds := dict
  "configmap" "configmaps"
  "tcp-services-configmap" "configmaps"
  "udp-services-configmap" "configmaps"
  "default-ssl-certificate" "secrets"
  "publish-service" "services"
  "default-backend-service" "services"
-}}
{{- $namespaces := dict -}}
{{- range $flag, $value := include "genkan.controller.flags" . | fromYaml -}}
{{- $parts := include "genkan.text" $value | replace "$(POD_NAMESPACE)" $release | splitList "/" -}}
{{- if and (hasKey $kinds $flag) (eq (len $parts) 2) (ne (first $parts) $watched) -}}
{{- $rules := list (dict "apiGroups" (list "") "resources" (list (get $kinds $flag))
  "resourceNames" (list (last $parts)) "verbs" (list "get" "list" "watch")) -}}
{{- if eq $flag "default-backend-service" -}}
{{- $rules = append $rules (dict "apiGroups" (list "discovery.k8s.io") "resources" (list "endpointslices")
  "verbs" (list "get" "list" "watch")) -}}
{{- end -}}
{{- $_ := set $namespaces (first $parts) (concat (get $namespaces (first $parts) | default list) $rules) -}}
{{- end -}}
{{- end -}}
{{- if and (not .Values.rbac.scope) (not (has "default" (list $release $watched))) -}}
{{- $rules := get $namespaces "default" | default list -}}
{{- $_ := set $namespaces "default" (concat $rules (include "genkan.rbac.events" . | fromYamlArray)) -}}
{{- end -}}
{{- toYaml $namespaces -}}
{{- end -}}

{{/*
A binding of a role to the controller's account. Takes: root, name, kind ("ClusterRole" or "Role"), namespace.
*/}}
{{- define "genkan.rbac.binding" -}}
apiVersion: rbac.authorization.k8s.io/v1
kind: {{ .kind }}Binding
{{ dict "root" .root "name" .name "namespace" .namespace "component" "controller"
  "extra" (list .root.Values.controller.labels) | include "genkan.metadata" }}
roleRef:
  apiGroup: rbac.authorization.k8s.io
  kind: {{ .kind }}
  name: {{ .name }}
subjects:
  - kind: ServiceAccount
    name: {{ include "genkan.serviceAccountName" .root }}
    namespace: {{ include "genkan.namespace" .root }}
{{- end -}}

{{/*
A role and its binding. Takes: root, name, kind, namespace, rules (YAML).
*/}}
{{- define "genkan.rbac.roleAndBinding" -}}
---
apiVersion: rbac.authorization.k8s.io/v1
kind: {{ .kind }}
{{ dict "root" .root "name" .name "namespace" .namespace "component" "controller"
  "extra" (list .root.Values.controller.labels) | include "genkan.metadata" }}
rules:
  {{- .rules | nindent 2 }}
---
{{ include "genkan.rbac.binding" . }}
{{- end -}}
