{{/*
Names, labels and images. Names are made as ingress-nginx's chart makes them, so that a release with the same name,
nameOverride and fullnameOverride has objects of the same names.
*/}}

{{- define "genkan.cut" -}}
{{- . | trunc 63 | trimSuffix "-" -}}
{{- end -}}

{{- define "genkan.name" -}}
{{- include "genkan.cut" (.Values.nameOverride | default .Chart.Name) -}}
{{- end -}}

{{- define "genkan.fullname" -}}
{{- $name := .Values.nameOverride | default .Chart.Name -}}
{{- $made := contains $name .Release.Name | ternary .Release.Name (printf "%s-%s" .Release.Name $name) -}}
{{- include "genkan.cut" (.Values.fullnameOverride | default $made) -}}
{{- end -}}

{{- define "genkan.namespace" -}}
{{- include "genkan.cut" (.Values.namespaceOverride | default .Release.Namespace) -}}
{{- end -}}

{{- define "genkan.chart" -}}
{{- include "genkan.cut" (printf "%s-%s" .Chart.Name .Chart.Version | replace "+" "_") -}}
{{- end -}}

{{- define "genkan.controller.fullname" -}}
{{- include "genkan.cut" (printf "%s-%s" (include "genkan.fullname" .) .Values.controller.name) -}}
{{- end -}}

{{- define "genkan.admission.fullname" -}}
{{- include "genkan.cut" (printf "%s-%s" (include "genkan.fullname" .) .Values.controller.admissionWebhooks.name) -}}
{{- end -}}

{{- define "genkan.defaultBackend.fullname" -}}
{{- include "genkan.cut" (printf "%s-%s" (include "genkan.fullname" .) .Values.defaultBackend.name) -}}
{{- end -}}

{{- define "genkan.controller.electionID" -}}
{{- .Values.controller.electionID | default (printf "%s-leader" (include "genkan.fullname" .)) -}}
{{- end -}}

{{- define "genkan.serviceAccountName" -}}
{{- $made := include "genkan.fullname" . -}}
{{- .Values.serviceAccount.name | default (.Values.serviceAccount.create | ternary $made "default") -}}
{{- end -}}

{{- define "genkan.defaultBackend.serviceAccountName" -}}
{{- $account := .Values.defaultBackend.serviceAccount -}}
{{- $made := printf "%s-backend" (include "genkan.fullname" .) -}}
{{- $account.name | default ($account.create | ternary $made "default") -}}
{{- end -}}

{{/*
A scalar as text. Numbers of a values file are floats: 10000000 must not become 1e+07.
*/}}
{{- define "genkan.text" -}}
{{- if kindIs "invalid" . -}}
{{- else if and (kindIs "float64" .) (eq (floor .) .) -}}
{{- int64 . -}}
{{- else -}}
{{- toString . -}}
{{- end -}}
{{- end -}}

{{/*
A map whose values must be texts: labels, annotations, node selectors. Of `maps`, later ones win.
Takes a list of maps; gives YAML, or nothing when there is no key.
*/}}
{{- define "genkan.texts" -}}
{{- $all := dict -}}
{{- range . -}}
{{- range $key, $value := . | default dict -}}
{{- $_ := set $all $key (include "genkan.text" $value) -}}
{{- end -}}
{{- end -}}
{{- with $all -}}
{{- toYaml . -}}
{{- end -}}
{{- end -}}

{{/*
What finds the pods of a component. The selector of a Deployment cannot be changed later.
Takes: root, component.
*/}}
{{- define "genkan.selector" -}}
app.kubernetes.io/name: {{ include "genkan.name" .root }}
app.kubernetes.io/instance: {{ .root.Release.Name }}
app.kubernetes.io/component: {{ .component }}
{{- end -}}

{{/*
All labels of an object. Nothing that a user sets replaces what selectors look for.
Takes: root, component, extra (a list of maps).
*/}}
{{- define "genkan.labels" -}}
{{- $standard := dict
  "helm.sh/chart" (include "genkan.chart" .root)
  "app.kubernetes.io/version" .root.Chart.AppVersion
  "app.kubernetes.io/part-of" (include "genkan.name" .root)
  "app.kubernetes.io/managed-by" .root.Release.Service
-}}
{{- $selector := include "genkan.selector" . | fromYaml -}}
{{- concat (list $standard .root.Values.commonLabels) (.extra | default list) (list $selector)
  | include "genkan.texts" -}}
{{- end -}}

{{/*
The head of an object's metadata. Takes: root, name, component, extra (a list of label maps), annotations (a map),
namespace (only where it is not the release's; "-" for none).
*/}}
{{- define "genkan.metadata" -}}
metadata:
  name: {{ .name }}
  {{- if ne (.namespace | default "") "-" }}
  namespace: {{ .namespace | default (include "genkan.namespace" .root) }}
  {{- end }}
  labels:
    {{- include "genkan.labels" . | nindent 4 }}
  {{- with include "genkan.texts" (list .annotations) }}
  annotations:
    {{- . | nindent 4 }}
  {{- end }}
{{- end -}}

{{/*
An image's full name. Takes: image (registry, image, repository, tag, digest), registry (for images without one), tag
(for images without one).
*/}}
{{- define "genkan.imageName" -}}
{{- $image := .image -}}
{{- $parts := list ($image.registry | default .registry) $image.image | compact -}}
{{- $image.repository | default (join "/" $parts) -}}
{{- with include "genkan.text" ($image.tag | default .tag) }}:{{ . }}{{ end -}}
{{- with $image.digest }}@{{ . }}{{ end -}}
{{- end -}}

{{/*
"true" when the values name ingress-nginx's own image: then its tag and digest belong to it as well.
*/}}
{{- define "genkan.controller.foreignImage" -}}
{{- $image := .Values.controller.image -}}
{{- regexMatch "(^|/)ingress-nginx/controller(-chroot)?$" ($image.repository | default $image.image | default "") -}}
{{- end -}}

{{/*
The controller's image. A values file of ingress-nginx may name that project's image, which would not understand our
arguments: ours takes its place, and the notes say so. Its default registry has never held ours.
*/}}
{{- define "genkan.controller.image" -}}
{{- $image := deepCopy .Values.controller.image -}}
{{- if eq (include "genkan.controller.foreignImage" .) "true" -}}
{{- $image = dict "registry" $image.registry "image" "genkan" -}}
{{- end -}}
{{- $registry := $image.registry | default .Values.global.image.registry -}}
{{- $_ := set $image "registry" (eq $registry "registry.k8s.io" | ternary "" $registry) -}}
{{- include "genkan.imageName" (dict "image" $image "registry" "" "tag" .Chart.AppVersion) -}}
{{- end -}}

{{/*
A container's security context: what the user gives, or the strictest that works.
Takes: given, image, add (a list of capabilities).
*/}}
{{- define "genkan.containerSecurityContext" -}}
{{- if .given -}}
{{- toYaml .given -}}
{{- else -}}
runAsNonRoot: {{ .image.runAsNonRoot }}
runAsUser: {{ include "genkan.text" .image.runAsUser }}
runAsGroup: {{ include "genkan.text" .image.runAsGroup }}
allowPrivilegeEscalation: {{ .image.allowPrivilegeEscalation }}
readOnlyRootFilesystem: {{ .image.readOnlyRootFilesystem }}
{{- with .image.seccompProfile }}
seccompProfile:
  {{- toYaml . | nindent 2 }}
{{- end }}
capabilities:
  drop:
    - ALL
  {{- with .add }}
  add:
    {{- toYaml . | nindent 4 }}
  {{- end }}
{{- end -}}
{{- end -}}

{{/*
The name of a port of `tcp` or `udp`. Takes: root, port, protocol ("tcp" or "udp").
*/}}
{{- define "genkan.portName" -}}
{{- list .root.Values.portNamePrefix .port .protocol | compact | join "-" -}}
{{- end -}}
