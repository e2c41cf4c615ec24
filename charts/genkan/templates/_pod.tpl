{{/*
The controller's pod, the same in a Deployment and a DaemonSet.
*/}}

{{/*
Sysctls of the pod. Those of the network do not exist for a pod in the host's network: the kubelet refuses such a pod,
so ours is left out there.
*/}}
{{- define "genkan.controller.sysctls" -}}
{{- $sysctls := list -}}
{{- range $name, $value := .Values.controller.sysctls -}}
{{- if not (and $.Values.controller.hostNetwork (eq $name "net.ipv4.ip_unprivileged_port_start")) -}}
{{- $sysctls = append $sysctls (dict "name" $name "value" (include "genkan.text" $value)) -}}
{{- end -}}
{{- end -}}
{{- with $sysctls -}}
{{- toYaml . -}}
{{- end -}}
{{- end -}}

{{- define "genkan.controller.podSecurityContext" -}}
{{- with .Values.controller.podSecurityContext }}
{{ toYaml . }}
{{- end }}
{{- with include "genkan.controller.sysctls" . }}
sysctls:
  {{- . | nindent 2 }}
{{- end }}
{{- end -}}

{{- define "genkan.controller.ports" -}}
{{- $c := .Values.controller -}}
{{- range $name, $port := $c.containerPort }}
- name: {{ $name }}
  containerPort: {{ include "genkan.text" $port }}
  protocol: TCP
  {{- if $c.hostPort.enabled }}
  hostPort: {{ get $c.hostPort.ports $name | default $port | include "genkan.text" }}
  {{- end }}
{{- end }}
{{- if $c.metrics.enabled }}
- name: {{ $c.metrics.portName }}
  containerPort: {{ include "genkan.text" $c.metrics.port }}
  protocol: TCP
{{- end }}
{{- if $c.admissionWebhooks.enabled }}
- name: webhook
  containerPort: {{ include "genkan.text" $c.admissionWebhooks.port }}
  protocol: TCP
{{- end }}
{{- range $protocol, $services := dict "tcp" .Values.tcp "udp" .Values.udp }}
{{- range $port, $service := $services }}
- name: {{ include "genkan.portName" (dict "root" $ "port" $port "protocol" $protocol) }}
  containerPort: {{ $port }}
  protocol: {{ upper $protocol }}
  {{- if $c.hostPort.enabled }}
  hostPort: {{ $port }}
  {{- end }}
{{- end }}
{{- end }}
{{- end -}}

{{- define "genkan.controller.volumeMounts" -}}
{{- if eq (include "genkan.admission.mode" .) "secret" }}
- name: webhook-cert
  mountPath: {{ dir .Values.controller.admissionWebhooks.certificate }}
  readOnly: true
{{- end }}
{{- with .Values.controller.extraVolumeMounts }}
{{ toYaml . }}
{{- end }}
{{- end -}}

{{- define "genkan.controller.volumes" -}}
{{- if eq (include "genkan.admission.mode" .) "secret" }}
{{- $webhooks := .Values.controller.admissionWebhooks }}
- name: webhook-cert
  secret:
    secretName: {{ include "genkan.admission.secretName" . }}
    {{- if $webhooks.certManager.enabled }}
    items:
      - key: tls.crt
        path: {{ base $webhooks.certificate }}
      - key: tls.key
        path: {{ base $webhooks.key }}
    {{- end }}
{{- end }}
{{- with .Values.controller.extraVolumes }}
{{ toYaml . }}
{{- end }}
{{- end -}}

{{- define "genkan.controller.container" -}}
{{- $c := .Values.controller -}}
name: {{ $c.containerName }}
image: {{ include "genkan.controller.image" . }}
imagePullPolicy: {{ $c.image.pullPolicy }}
args:
  {{- include "genkan.controller.args" . | nindent 2 }}
env:
  - name: POD_NAME
    valueFrom:
      fieldRef:
        fieldPath: metadata.name
  - name: POD_NAMESPACE
    valueFrom:
      fieldRef:
        fieldPath: metadata.namespace
  {{- with $c.extraEnvs }}
  {{- toYaml . | nindent 2 }}
  {{- end }}
ports:
  {{- include "genkan.controller.ports" . | trim | nindent 2 }}
{{- range $probe := list "startupProbe" "livenessProbe" "readinessProbe" }}
{{- /* Values files from before 4.0 had a port beside httpGet. */}}
{{- with omit (get $c $probe | default dict) "port" }}
{{ $probe }}:
  {{- toYaml . | nindent 2 }}
{{- end }}
{{- end }}
{{- range $field := list "lifecycle" "resources" "resizePolicy" }}
{{- with get $c $field }}
{{ $field }}:
  {{- toYaml . | nindent 2 }}
{{- end }}
{{- end }}
securityContext:
  {{- dict "given" $c.containerSecurityContext "image" $c.image "add" (list "NET_BIND_SERVICE")
    | include "genkan.containerSecurityContext" | nindent 2 }}
{{- with include "genkan.controller.volumeMounts" . | trim }}
volumeMounts:
  {{- . | nindent 2 }}
{{- end }}
{{- end -}}

{{- define "genkan.controller.podSpec" -}}
{{- $c := .Values.controller -}}
serviceAccountName: {{ include "genkan.serviceAccountName" . }}
automountServiceAccountToken: {{ .Values.serviceAccount.automountServiceAccountToken }}
terminationGracePeriodSeconds: {{ include "genkan.text" $c.terminationGracePeriodSeconds }}
dnsPolicy: {{ $c.dnsPolicy }}
{{- range $field := list "hostNetwork" "shareProcessNamespace" "priorityClassName" "runtimeClassName" "hostname" }}
{{- with get $c $field }}
{{ $field }}: {{ toYaml . }}
{{- end }}
{{- end }}
{{- range $field, $value := dict "dnsConfig" $c.dnsConfig "tolerations" $c.tolerations
  "imagePullSecrets" .Values.imagePullSecrets }}
{{- with $value }}
{{ $field }}:
  {{- toYaml . | nindent 2 }}
{{- end }}
{{- end }}
{{- with include "genkan.texts" (list $c.nodeSelector) }}
nodeSelector:
  {{- . | nindent 2 }}
{{- end }}
{{- range $field := list "hostAliases" "affinity" "topologySpreadConstraints" }}
{{- with get $c $field }}
{{ $field }}:
  {{- tpl (toYaml .) $ | nindent 2 }}
{{- end }}
{{- end }}
{{- with include "genkan.controller.podSecurityContext" . | trim }}
securityContext:
  {{- . | nindent 2 }}
{{- end }}
{{- with $c.extraInitContainers }}
initContainers:
  {{- tpl (toYaml .) $ | nindent 2 }}
{{- end }}
containers:
  - {{ include "genkan.controller.container" . | indent 4 | trim }}
  {{- with $c.extraContainers }}
  {{- toYaml . | nindent 2 }}
  {{- end }}
{{- with include "genkan.controller.volumes" . | trim }}
volumes:
  {{- . | nindent 2 }}
{{- end }}
{{- end -}}

{{- define "genkan.controller.podTemplate" -}}
{{- $c := .Values.controller -}}
metadata:
  labels:
    {{- dict "root" . "component" "controller" "extra" (list $c.labels $c.podLabels)
      | include "genkan.labels" | nindent 4 }}
  {{- with include "genkan.texts" (list $c.podAnnotations) }}
  annotations:
    {{- . | nindent 4 }}
  {{- end }}
spec:
  {{- include "genkan.controller.podSpec" . | nindent 2 }}
{{- end -}}
