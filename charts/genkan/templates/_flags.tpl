{{/*
The command line of the controller.
*/}}

{{/*
Who makes the certificate of the admission webhook: "none" (no webhook), "self" (Genkan), "secret" (whoever writes the
Secret: cert-manager or the user).
*/}}
{{- define "genkan.admission.mode" -}}
{{- $webhooks := .Values.controller.admissionWebhooks -}}
{{- if not $webhooks.enabled -}}
none
{{- else if or $webhooks.certManager.enabled (not $webhooks.patch.enabled) -}}
secret
{{- else -}}
self
{{- end -}}
{{- end -}}

{{/*
The Secret with the webhook's certificate. Genkan's own has a name of its own: the one of ingress-nginx may still exist,
with other keys.
*/}}
{{- define "genkan.admission.secretName" -}}
{{- $own := eq (include "genkan.admission.mode" .) "self" | ternary "-serving" "" -}}
{{- $made := printf "%s%s" (include "genkan.admission.fullname" .) $own -}}
{{- .Values.controller.admissionWebhooks.secretName | default $made -}}
{{- end -}}

{{/*
The Service whose address goes into the status, as namespace/name; nothing when there is none.
*/}}
{{- define "genkan.controller.publishService" -}}
{{- $service := .Values.controller.service -}}
{{- if and .Values.controller.publishService.enabled $service.enabled -}}
{{- $path := .Values.controller.publishService.pathOverride
  | default (printf "$(POD_NAMESPACE)/%s" (include "genkan.controller.fullname" .)) -}}
{{- if $service.external.enabled -}}
{{- $path -}}
{{- else if and $service.internal.enabled $service.internal.annotations -}}
{{- $path -}}-internal
{{- end -}}
{{- end -}}
{{- end -}}

{{/*
Whether Gateways get Services: "true" or nothing. Without the right to read GatewayClasses no Gateway is served.
*/}}
{{- define "genkan.gatewayServices" -}}
{{- if and .Values.rbac.gatewayServices (not (and .Values.controller.scope.enabled .Values.rbac.scope)) -}}
true
{{- end -}}
{{- end -}}

{{/*
The headless Service by which the controller knows its own Pods.
*/}}
{{- define "genkan.controller.gatewayService" -}}
{{- printf "%s-gateways" (include "genkan.controller.fullname" .) -}}
{{- end -}}

{{/*
The port of /healthz, /readyz and /metrics.
*/}}
{{- define "genkan.controller.healthzPort" -}}
{{- include "genkan.text" (get (.Values.controller.extraArgs | default dict) "healthz-port" | default 10254) -}}
{{- end -}}

{{/*
Flags that follow from values of the admission webhook.
*/}}
{{- define "genkan.admission.flags" -}}
{{- $webhooks := .Values.controller.admissionWebhooks -}}
{{- $mode := include "genkan.admission.mode" . -}}
{{- $flags := dict -}}
{{- if ne $mode "none" -}}
{{- $_ := set $flags "validating-webhook" (printf ":%s" (include "genkan.text" $webhooks.port)) -}}
{{- end -}}
{{- if eq $mode "secret" -}}
{{- $_ := set $flags "validating-webhook-certificate" $webhooks.certificate -}}
{{- $_ := set $flags "validating-webhook-key" $webhooks.key -}}
{{- end -}}
{{- if eq $mode "self" -}}
{{- $service := printf "$(POD_NAMESPACE)/%s-admission" (include "genkan.controller.fullname" .) -}}
{{- $_ := set $flags "validating-webhook-service" $service -}}
{{- $_ := set $flags "validating-webhook-configuration" (include "genkan.admission.fullname" .) -}}
{{- $secret := printf "$(POD_NAMESPACE)/%s" (include "genkan.admission.secretName" .) -}}
{{- $_ := set $flags "validating-webhook-secret" $secret -}}
{{- end -}}
{{- toYaml $flags -}}
{{- end -}}

{{/*
Every flag and its value, as a map: controller.extraArgs takes the place of what follows from other values, null takes
it away, and no flag stands there twice.
*/}}
{{- define "genkan.controller.flags" -}}
{{- $c := .Values.controller -}}
{{- $own := "$(POD_NAMESPACE)" -}}
{{- $flags := dict
  "configmap" (printf "%s/%s" ($c.configMapNamespace | default $own) (include "genkan.controller.fullname" .))
  "controller-class" $c.ingressClassResource.controllerValue
  "election-id" (include "genkan.controller.electionID" .)
  "election-ttl" $c.electionTTL
  "healthz-host" $c.healthCheckHost
  "http-port" $c.containerPort.http
  "https-port" $c.containerPort.https
  "ingress-class" $c.ingressClass
  "publish-service" (include "genkan.controller.publishService" .)
  "shutdown-grace-period" $c.shutdownGracePeriodSeconds
-}}
{{- if .Values.tcp -}}
{{- $_ := printf "%s/%s-tcp" ($c.tcp.configMapNamespace | default $own) (include "genkan.fullname" .)
  | set $flags "tcp-services-configmap" -}}
{{- end -}}
{{- if .Values.udp -}}
{{- $_ := printf "%s/%s-udp" ($c.udp.configMapNamespace | default $own) (include "genkan.fullname" .)
  | set $flags "udp-services-configmap" -}}
{{- end -}}
{{- if .Values.defaultBackend.enabled -}}
{{- $_ := printf "%s/%s" $own (include "genkan.defaultBackend.fullname" .) | set $flags "default-backend-service" -}}
{{- end -}}
{{- if include "genkan.gatewayServices" . -}}
{{- $_ := printf "%s/%s" $own (include "genkan.controller.gatewayService" .) | set $flags "gateway-service" -}}
{{- end -}}
{{- if $c.gatewayControllerName -}}
{{- $_ := set $flags "gateway-controller-name" $c.gatewayControllerName -}}
{{- end -}}
{{- if $c.scope.enabled -}}
{{- $_ := set $flags "watch-namespace" ($c.scope.namespace | default $own) -}}
{{- else -}}
{{- $_ := set $flags "watch-namespace-selector" $c.scope.namespaceSelector -}}
{{- end -}}
{{- if ne $c.healthCheckPath "/healthz" -}}
{{- $_ := set $flags "health-check-path" $c.healthCheckPath -}}
{{- end -}}
{{- range $flag, $set := dict
  "disable-leader-election" $c.disableLeaderElection
  "enable-metrics" $c.metrics.enabled
  "enable-topology-aware-routing" $c.enableTopologyAwareRouting
  "ingress-class-by-name" $c.ingressClassByName
  "report-node-internal-ip-address" (and $c.hostNetwork $c.reportNodeInternalIp)
  "watch-ingress-without-class" $c.watchIngressWithoutClass
-}}
{{- if $set -}}
{{- $_ := set $flags $flag true -}}
{{- end -}}
{{- end -}}
{{- range $flag, $value := include "genkan.admission.flags" . | fromYaml -}}
{{- $_ := set $flags $flag $value -}}
{{- end -}}
{{- range $flag, $value := $flags -}}
{{- if eq (include "genkan.text" $value) "" -}}
{{- $_ := unset $flags $flag -}}
{{- end -}}
{{- end -}}
{{- /* One of the two is all that the controller takes. */ -}}
{{- if hasKey ($c.extraArgs | default dict) "publish-status-address" -}}
{{- $_ := unset $flags "publish-service" -}}
{{- end -}}
{{- range $flag, $value := $c.extraArgs -}}
{{- if kindIs "invalid" $value -}}
{{- $_ := unset $flags $flag -}}
{{- else -}}
{{- $_ := set $flags $flag $value -}}
{{- end -}}
{{- end -}}
{{- toYaml $flags -}}
{{- end -}}

{{/*
The arguments of the container. A key of extraArgs without a value is a flag without one.
*/}}
{{- define "genkan.controller.args" -}}
{{- $args := list "controller" -}}
{{- range $flag, $value := include "genkan.controller.flags" . | fromYaml -}}
{{- $text := include "genkan.text" $value -}}
{{- $args = append $args (eq $text "" | ternary (printf "--%s" $flag) (printf "--%s=%s" $flag $text)) -}}
{{- end -}}
{{- toYaml $args -}}
{{- end -}}

{{/*
The ports of the Pods that Services of Gateways lead to, as FIRST-LAST.
*/}}
{{- define "genkan.controller.targetPorts" -}}
{{- get (include "genkan.controller.flags" . | fromYaml) "gateway-target-ports" | default "20000-29999" -}}
{{- end -}}

{{/*
spec.controllerName of the GatewayClasses that are served.
*/}}
{{- define "genkan.controller.gatewayControllerName" -}}
{{- get (include "genkan.controller.flags" . | fromYaml) "gateway-controller-name" | default "genkan.dev/gateway-controller" -}}
{{- end -}}
