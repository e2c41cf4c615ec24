{{/*
What Services have in common. Fields of a Service that are copied as they are, when they are set.
*/}}
{{- define "genkan.service.fields" -}}
{{- $settings := . -}}
{{- range $field := list "clusterIP" "clusterIPs" "externalIPs" "loadBalancerIP" "loadBalancerSourceRanges"
  "loadBalancerClass" "externalTrafficPolicy" "sessionAffinity" "healthCheckNodePort" "ipFamilyPolicy" "ipFamilies" }}
{{- with get $settings $field }}
{{ dict $field . | toYaml }}
{{- end }}
{{- end }}
{{- if kindIs "bool" (get $settings "allocateLoadBalancerNodePorts") }}
allocateLoadBalancerNodePorts: {{ $settings.allocateLoadBalancerNodePorts }}
{{- end }}
{{- end -}}

{{/*
One of the ports http and https. Takes: root, name, settings (the Service's values).
*/}}
{{- define "genkan.service.webPort" -}}
{{- $service := .root.Values.controller.service -}}
{{- $port := get (.settings.ports | default dict) .name | default (get $service.ports .name) -}}
{{- $target := get (.settings.targetPorts | default dict) .name | default (get $service.targetPorts .name) -}}
- name: {{ .name }}
  port: {{ include "genkan.text" $port }}
  protocol: TCP
  targetPort: {{ include "genkan.text" $target }}
  {{- if .settings.appProtocol }}
  appProtocol: {{ .name }}
  {{- end }}
  {{- if has .type (list "NodePort" "LoadBalancer") }}
  {{- with get .settings.nodePorts .name }}
  nodePort: {{ include "genkan.text" . }}
  {{- end }}
  {{- end }}
{{- end -}}

{{/*
A Service in front of the controller. Takes: root, name, settings (its values), type, labels (a list of maps).
*/}}
{{- define "genkan.controller.service" -}}
{{- $root := .root -}}
{{- $settings := .settings -}}
{{- $type := .type -}}
{{- $annotations := dict -}}
{{- range $key, $value := $settings.annotations -}}
{{- $_ := set $annotations $key (tpl (include "genkan.text" $value) $root) -}}
{{- end -}}
apiVersion: v1
kind: Service
{{ dict "root" $root "name" .name "component" "controller" "extra" .labels "annotations" $annotations
  | include "genkan.metadata" }}
spec:
  type: {{ $type }}
  {{- with include "genkan.service.fields" $settings | trim }}
  {{- . | nindent 2 }}
  {{- end }}
  {{- if semverCompare ">=1.31.0-0" $root.Capabilities.KubeVersion.Version }}
  {{- with $settings.trafficDistribution }}
  trafficDistribution: {{ . }}
  {{- end }}
  {{- end }}
  ports:
    {{- if $root.Values.controller.service.enableHttp }}
    {{- dict "root" $root "name" "http" "settings" $settings "type" $type
      | include "genkan.service.webPort" | nindent 4 }}
    {{- end }}
    {{- if $root.Values.controller.service.enableHttps }}
    {{- dict "root" $root "name" "https" "settings" $settings "type" $type
      | include "genkan.service.webPort" | nindent 4 }}
    {{- end }}
    {{- range $protocol, $services := dict "tcp" $root.Values.tcp "udp" $root.Values.udp }}
    {{- range $port, $service := $services }}
    {{- $name := include "genkan.portName" (dict "root" $root "port" $port "protocol" $protocol) }}
    - name: {{ $name }}
      port: {{ $port }}
      protocol: {{ upper $protocol }}
      targetPort: {{ $name }}
      {{- if has $type (list "NodePort" "LoadBalancer") }}
      {{- with get (get $settings.nodePorts $protocol | default dict) $port }}
      nodePort: {{ include "genkan.text" . }}
      {{- end }}
      {{- end }}
    {{- end }}
    {{- end }}
  selector:
    {{- dict "root" $root "component" "controller" | include "genkan.selector" | nindent 4 }}
{{- end -}}
