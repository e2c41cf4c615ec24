{{/*
What the notes say about values that cannot act, and about keys that nobody knows. One line each.
*/}}

{{/*
Keys of ingress-nginx's chart, of this and earlier versions, directly below the root and below `controller`; and those
that are ours. A test holds them equal to values.schema.json.
*/}}
{{- define "genkan.known.root" -}}
commonLabels controller defaultBackend dhParam fullnameOverride global imagePullSecrets nameOverride namespaceOverride
podSecurityPolicy portNamePrefix rbac revisionHistoryLimit serviceAccount tcp udp
{{- end -}}

{{- define "genkan.known.controller" -}}
addHeaders admissionWebhooks affinity allowSnippetAnnotations annotations autoscaling autoscalingTemplate config
configAnnotations configMapNamespace containerName containerPort containerSecurityContext customTemplate
disableLeaderElection dnsConfig dnsPolicy electionID electionTTL enableAnnotationValidations enableMimalloc
enableTopologyAwareRouting existingPsp extraArgs extraContainers extraEnvs extraInitContainers extraModules
extraVolumeMounts extraVolumes gatewayControllerName healthCheckHost healthCheckPath hostAliases hostNetwork
hostPort hostname image ingressClass ingressClassByName ingressClassResource keda kind labels lifecycle livenessProbe
maxUnavailable maxmindLicenseKey metrics minAvailable minReadySeconds name networkPolicy nodeSelector opentelemetry podAnnotations
podLabels podSecurityContext priorityClassName progressDeadlineSeconds proxySetHeaders publishService readinessProbe
replicaCount reportNodeInternalIp resizePolicy resources runtimeClassName scope service shareProcessNamespace
shutdownGracePeriodSeconds startupProbe sysctls tcp terminationGracePeriodSeconds tolerations topologySpreadConstraints
udp unhealthyPodEvictionPolicy updateStrategy watchIngressWithoutClass
{{- end -}}

{{- define "genkan.notes.unknownKeys" -}}
{{- $root := include "genkan.known.root" . | replace "\n" " " | splitList " " -}}
{{- range $key := keys .Values | sortAlpha -}}
{{- if not (has $key $root) }}
{{ $key }}: no such value; it does nothing.
{{- end -}}
{{- end -}}
{{- $controller := include "genkan.known.controller" . | replace "\n" " " | splitList " " -}}
{{- range $key := keys .Values.controller | sortAlpha -}}
{{- if not (has $key $controller) }}
controller.{{ $key }}: no such value; it does nothing.
{{- end -}}
{{- end -}}
{{- end -}}

{{- define "genkan.notes.image" -}}
{{- $image := .Values.controller.image -}}
{{- if eq (include "genkan.controller.foreignImage" .) "true" }}
controller.image: names ingress-nginx's image. {{ include "genkan.controller.image" . }} is used; take image, tag, digest and repository out.
{{- else if regexMatch "^v[01]\\.[0-9]+\\.[0-9]+$" (include "genkan.text" $image.tag) }}
controller.image.tag: {{ $image.tag }} looks like a tag of ingress-nginx. Take it out, and its digest, unless your registry has Genkan under it.
{{- end -}}
{{- if $image.chroot }}
controller.image.chroot: there is no such image. Genkan starts no process and runs nothing that a tenant wrote.
{{- end -}}
{{- end -}}

{{- define "genkan.notes.ignored" -}}
{{- $c := .Values.controller -}}
{{- if $c.allowSnippetAnnotations }}
controller.allowSnippetAnnotations: snippets are never run. `genkan check` names the Ingresses that have them, and what to set instead.
{{- end -}}
{{- if not $c.enableAnnotationValidations }}
controller.enableAnnotationValidations: values of annotations are always validated.
{{- end -}}
{{- if $c.maxmindLicenseKey }}
controller.maxmindLicenseKey: GeoIP is not supported; the key is not given to the controller. Let the load balancer or the backend look countries up.
{{- end -}}
{{- range $value, $key := dict "addHeaders" "add-headers" "proxySetHeaders" "proxy-set-headers" }}
{{- if get $c $value }}
controller.{{ $value }}: its ConfigMap is made, but the key {{ $key }} that names it has no effect yet.
{{- end -}}
{{- end -}}
{{- if .Values.dhParam }}
dhParam: no cipher suite here uses Diffie-Hellman parameters (TLS 1.2 with ECDHE, and TLS 1.3). Delete it.
{{- end -}}
{{- if $c.extraModules }}
controller.extraModules: modules of nginx cannot be loaded.
{{- end -}}
{{- if $c.opentelemetry }}
controller.opentelemetry: the module's image is not used. Delete it.
{{- end -}}
{{- if or .Values.podSecurityPolicy $c.existingPsp }}
podSecurityPolicy, controller.existingPsp: Kubernetes has no PodSecurityPolicies since 1.25. Label the namespace for Pod Security Admission.
{{- end -}}
{{- $webhooks := $c.admissionWebhooks -}}
{{- if or $webhooks.createSecretJob $webhooks.patchWebhookJob $webhooks.extraEnvs $webhooks.existingPsp (gt (len (keys $webhooks.patch)) 1) }}
controller.admissionWebhooks.{createSecretJob,patchWebhookJob,patch,extraEnvs}: there are no Jobs; only patch.enabled acts. Genkan makes the certificate itself.
{{- end -}}
{{- end -}}

{{- define "genkan.notes.conflicts" -}}
{{- $c := .Values.controller -}}
{{- if and $c.autoscaling.enabled $c.keda.enabled }}
controller.autoscaling, controller.keda: both are enabled, so neither acts.
{{- end -}}
{{- if and (ne $c.kind "Deployment") (or $c.autoscaling.enabled $c.keda.enabled) }}
controller.autoscaling, controller.keda: only a Deployment is scaled; controller.kind is {{ $c.kind }}.
{{- end -}}
{{- if and $c.service.internal.enabled (not $c.service.internal.annotations) }}
controller.service.internal: without annotations the internal Service is not made; most clouds would make it a public one.
{{- end -}}
{{- if and $c.metrics.enabled (ne (include "genkan.text" $c.metrics.port) (include "genkan.controller.healthzPort" .)) }}
controller.metrics.port: metrics are served on {{ include "genkan.controller.healthzPort" . }}. Set controller.extraArgs.healthz-port as well, and the ports of the probes.
{{- end -}}
{{- if and $c.disableLeaderElection (gt (int $c.replicaCount) 1) }}
controller.disableLeaderElection: all {{ int $c.replicaCount }} replicas write statuses.
{{- end -}}
{{- if and $c.hostNetwork (include "genkan.gatewayServices" .) }}
controller.hostNetwork, rbac.gatewayServices: ports {{ include "genkan.controller.targetPorts" . }} are open on the nodes to whoever reaches them, also where a Gateway's Service is of type ClusterIP.
{{- end -}}
{{- $webhooks := $c.admissionWebhooks -}}
{{- if and (eq (include "genkan.admission.mode" .) "secret") (not $webhooks.certManager.enabled) (not $webhooks.caBundle) }}
controller.admissionWebhooks: the certificate is yours (Secret {{ include "genkan.admission.secretName" . }}, files {{ base $webhooks.certificate }} and {{ base $webhooks.key }}), and caBundle is not set: write it into the ValidatingWebhookConfiguration, or Ingresses are refused.
{{- end -}}
{{- if and (eq (include "genkan.admission.mode" .) "self") $webhooks.secretName }}
controller.admissionWebhooks.secretName: Genkan makes the certificate and keeps it in Secret {{ $webhooks.secretName }}. One with a certificate of yours is left alone and not used, and Ingresses are refused: for yours, set controller.admissionWebhooks.patch.enabled to false.
{{- end -}}
{{- if and $c.scope.enabled $c.scope.namespaceSelector }}
controller.scope.namespaceSelector: has no effect with controller.scope.enabled.
{{- end -}}
{{- end -}}

{{/*
What is not watched, with controller.scope.
*/}}
{{- define "genkan.notes.scope" -}}
{{- if .Values.controller.scope.enabled }}
Only namespace {{ include "genkan.rbac.watchedNamespace" . }} is watched. Not seen are Ingresses, Gateway API's routes, Services and Secrets of other
namespaces, also where tcp, udp or a ReferenceGrant would lead there.
{{- if .Values.rbac.scope }}
With rbac.scope there is no right to read what has no namespace:
- IngressClasses: only the annotation kubernetes.io/ingress.class says which Ingresses are ours.
- GatewayClasses: no Gateway is served.
{{- if eq (include "genkan.rbac.readsNodes" .) "true" }}
- Nodes: statuses get no address. Set controller.extraArgs.publish-status-address.
{{- end }}
{{- end }}
{{- end }}
{{- end -}}
