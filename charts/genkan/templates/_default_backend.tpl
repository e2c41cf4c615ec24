{{/*
The pod of the default backend: an image of the user's that answers 200 to /healthz and 404 to everything else.
*/}}

{{- define "genkan.defaultBackend.image" -}}
{{- dict "image" .Values.defaultBackend.image "registry" .Values.global.image.registry "tag" ""
  | include "genkan.imageName" -}}
{{- end -}}

{{- define "genkan.defaultBackend.args" -}}
{{- $args := list -}}
{{- range $flag, $value := .Values.defaultBackend.extraArgs -}}
{{- $text := include "genkan.text" $value -}}
{{- $args = append $args (eq $text "" | ternary (printf "--%s" $flag) (printf "--%s=%s" $flag $text)) -}}
{{- end -}}
{{- with $args -}}
{{- toYaml . -}}
{{- end -}}
{{- end -}}

{{- define "genkan.defaultBackend.container" -}}
{{- $b := .Values.defaultBackend -}}
name: {{ printf "%s-default-backend" (include "genkan.name" .) | trunc 63 }}
image: {{ include "genkan.defaultBackend.image" . }}
imagePullPolicy: {{ $b.image.pullPolicy }}
{{- with include "genkan.defaultBackend.args" . }}
args:
  {{- . | nindent 2 }}
{{- end }}
ports:
  - name: http
    containerPort: {{ include "genkan.text" $b.port }}
    protocol: TCP
{{- range $probe := list "livenessProbe" "readinessProbe" }}
{{- $get := dict "httpGet" (dict "path" "/healthz" "port" $b.port "scheme" "HTTP") }}
{{ $probe }}:
  {{- toYaml (merge (deepCopy (get $b $probe)) $get) | nindent 2 }}
{{- end }}
{{- range $field, $name := dict "env" "extraEnvs" "volumeMounts" "extraVolumeMounts" "resources" "resources" }}
{{- with get $b $name }}
{{ $field }}:
  {{- toYaml . | nindent 2 }}
{{- end }}
{{- end }}
securityContext:
  {{- dict "given" $b.containerSecurityContext "image" $b.image
    | include "genkan.containerSecurityContext" | nindent 2 }}
{{- end -}}

{{- define "genkan.defaultBackend.podSpec" -}}
{{- $b := .Values.defaultBackend -}}
serviceAccountName: {{ include "genkan.defaultBackend.serviceAccountName" . }}
automountServiceAccountToken: {{ $b.serviceAccount.automountServiceAccountToken }}
terminationGracePeriodSeconds: 60
{{- range $field := list "priorityClassName" "runtimeClassName" }}
{{- with get $b $field }}
{{ $field }}: {{ . }}
{{- end }}
{{- end }}
{{- range $field, $value := dict "imagePullSecrets" .Values.imagePullSecrets "securityContext" $b.podSecurityContext
  "tolerations" $b.tolerations }}
{{- with $value }}
{{ $field }}:
  {{- toYaml . | nindent 2 }}
{{- end }}
{{- end }}
{{- with include "genkan.texts" (list $b.nodeSelector) }}
nodeSelector:
  {{- . | nindent 2 }}
{{- end }}
{{- range $field, $name := dict "affinity" "affinity" "topologySpreadConstraints" "topologySpreadConstraints"
  "volumes" "extraVolumes" }}
{{- with get $b $name }}
{{ $field }}:
  {{- tpl (toYaml .) $ | nindent 2 }}
{{- end }}
{{- end }}
containers:
  - {{ include "genkan.defaultBackend.container" . | indent 4 | trim }}
{{- end -}}
