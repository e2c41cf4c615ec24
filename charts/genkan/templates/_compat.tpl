{{/*
The names under which ingress-nginx's chart defines these. Values that are templates themselves (affinity,
topologySpreadConstraints, hostAliases, annotations of Services) call them, as the comments of its values file suggest.
*/}}

{{- define "ingress-nginx.name" -}}
{{- include "genkan.name" . -}}
{{- end -}}

{{- define "ingress-nginx.chart" -}}
{{- include "genkan.chart" . -}}
{{- end -}}

{{- define "ingress-nginx.fullname" -}}
{{- include "genkan.fullname" . -}}
{{- end -}}

{{- define "ingress-nginx.namespace" -}}
{{- include "genkan.namespace" . -}}
{{- end -}}

{{- define "ingress-nginx.controller.fullname" -}}
{{- include "genkan.controller.fullname" . -}}
{{- end -}}

{{- define "ingress-nginx.controller.electionID" -}}
{{- include "genkan.controller.electionID" . -}}
{{- end -}}

{{- define "ingress-nginx.defaultBackend.fullname" -}}
{{- include "genkan.defaultBackend.fullname" . -}}
{{- end -}}

{{- define "ingress-nginx.admissionWebhooks.fullname" -}}
{{- include "genkan.admission.fullname" . -}}
{{- end -}}

{{- define "ingress-nginx.serviceAccountName" -}}
{{- include "genkan.serviceAccountName" . -}}
{{- end -}}

{{- define "ingress-nginx.selectorLabels" -}}
app.kubernetes.io/name: {{ include "genkan.name" . }}
app.kubernetes.io/instance: {{ .Release.Name }}
{{- end -}}

{{- define "ingress-nginx.labels" -}}
{{ include "ingress-nginx.selectorLabels" . }}
helm.sh/chart: {{ include "genkan.chart" . }}
app.kubernetes.io/version: {{ .Chart.AppVersion | quote }}
app.kubernetes.io/part-of: {{ include "genkan.name" . }}
app.kubernetes.io/managed-by: {{ .Release.Service }}
{{- with include "genkan.texts" (list .Values.commonLabels) }}
{{ . }}
{{- end }}
{{- end -}}
