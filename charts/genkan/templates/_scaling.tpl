{{/*
Scaling and disruption, for the controller and the default backend.
*/}}

{{/*
Metrics of a HorizontalPodAutoscaler. Takes the values of the autoscaling.
*/}}
{{- define "genkan.autoscaling.metrics" -}}
{{- range $resource, $percent := dict "cpu" .targetCPUUtilizationPercentage
  "memory" .targetMemoryUtilizationPercentage }}
{{- with $percent }}
- type: Resource
  resource:
    name: {{ $resource }}
    target:
      type: Utilization
      averageUtilization: {{ include "genkan.text" . }}
{{- end }}
{{- end }}
{{- end -}}

{{/*
A HorizontalPodAutoscaler. Takes: root, name, component, settings (values with autoscaling and labels), extra (metrics).
*/}}
{{- define "genkan.autoscaler" -}}
{{- $scaling := .settings.autoscaling -}}
apiVersion: autoscaling/v2
kind: HorizontalPodAutoscaler
{{ dict "root" .root "name" .name "component" .component "extra" (list .settings.labels)
  "annotations" $scaling.annotations | include "genkan.metadata" }}
spec:
  scaleTargetRef:
    apiVersion: apps/v1
    kind: Deployment
    name: {{ .name }}
  minReplicas: {{ include "genkan.text" $scaling.minReplicas }}
  maxReplicas: {{ include "genkan.text" $scaling.maxReplicas }}
  metrics:
    {{- with include "genkan.autoscaling.metrics" $scaling | trim }}
    {{- . | nindent 4 }}
    {{- end }}
    {{- with .extra }}
    {{- toYaml . | nindent 4 }}
    {{- end }}
  {{- with $scaling.behavior }}
  behavior:
    {{- toYaml . | nindent 4 }}
  {{- end }}
{{- end -}}

{{/*
A PodDisruptionBudget, when there is more than one replica. Takes: root, name, component, settings, replicas.
*/}}
{{- define "genkan.disruptionBudget" -}}
{{- $settings := .settings -}}
{{- if gt (int .replicas) 1 -}}
apiVersion: policy/v1
kind: PodDisruptionBudget
{{ dict "root" .root "name" .name "component" .component "extra" (list $settings.labels)
  "annotations" $settings.annotations | include "genkan.metadata" }}
spec:
  selector:
    matchLabels:
      {{- include "genkan.selector" . | nindent 6 }}
  {{- if and $settings.minAvailable (not (hasKey $settings "maxUnavailable")) }}
  minAvailable: {{ $settings.minAvailable }}
  {{- else if $settings.maxUnavailable }}
  maxUnavailable: {{ $settings.maxUnavailable }}
  {{- end }}
  {{- with $settings.unhealthyPodEvictionPolicy }}
  unhealthyPodEvictionPolicy: {{ . }}
  {{- end }}
{{- end -}}
{{- end -}}
