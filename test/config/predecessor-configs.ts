/**
 * ProxyConfigs as the predecessor's controller writes them, byte for byte as Go's encoding/json would: every key in its
 * place, nil slices as null. `echo` is what our own wire form of them is.
 */
export interface PredecessorConfig {
  readonly name: string
  readonly json: string
  readonly echo: unknown
}

const pem = '-----BEGIN CERTIFICATE-----\nMIIB\n-----END CERTIFICATE-----\n'
const key = '-----BEGIN PRIVATE KEY-----\nMIIC\n-----END PRIVATE KEY-----\n'

export const predecessorConfigs: readonly PredecessorConfig[] = [
  {
    name: 'no routes',
    json: '{"version":1764000000001,"rules":null}',
    echo: { version: 1764000000001, rules: [] },
  },
  {
    name: 'a GRPCRoute, and a rule without usable backends',
    json: '{"version":1764000000002,"rules":[{"hostnames":["grpc.example.com"],"matches":[{"path":{"type":"Exact","value":"/pkg.Service/Method"}}],"backends":null}],"hasGrpcRoute":true}',
    echo: {
      version: 1764000000002,
      hasGrpcRoute: true,
      rules: [
        {
          hostnames: ['grpc.example.com'],
          matches: [{ path: { type: 'Exact', value: '/pkg.Service/Method' } }],
        },
      ],
    },
  },
  {
    name: 'every kind of match',
    json: '{"version":3,"rules":[{"hostnames":["a.example.com","*.example.com"],"matches":[{"path":{"type":"PathPrefix","value":"/v2"},"method":"GET","headers":[{"type":"Exact","name":"X-Env","value":"canary"},{"type":"RegularExpression","name":"X-Id","value":"^[0-9]+$"}],"queryParams":[{"type":"Exact","name":"page","value":"2"}]},{"path":{"type":"RegularExpression","value":"/v[0-9]+/.*"}}],"backends":[{"url":"http://svc.ns.svc.cluster.local:8080","weight":90},{"url":"http://canary.ns.svc.cluster.local:8080","weight":10,"unavailableStatus":503}],"timeouts":{"request":"10s","backend":"1m30s"}}]}',
    echo: {
      version: 3,
      rules: [
        {
          hostnames: ['a.example.com', '*.example.com'],
          matches: [
            {
              path: { type: 'PathPrefix', value: '/v2' },
              method: 'GET',
              headers: [
                { type: 'Exact', name: 'X-Env', value: 'canary' },
                { type: 'RegularExpression', name: 'X-Id', value: '^[0-9]+$' },
              ],
              queryParams: [{ type: 'Exact', name: 'page', value: '2' }],
            },
            { path: { type: 'RegularExpression', value: '/v[0-9]+/.*' } },
          ],
          backends: [
            { url: 'http://svc.ns.svc.cluster.local:8080', weight: 90 },
            { url: 'http://canary.ns.svc.cluster.local:8080', weight: 10, unavailableStatus: 503 },
          ],
          timeouts: { request: '10s', backend: '1m30s' },
        },
      ],
    },
  },
  {
    name: 'every filter',
    json:
      '{"version":4,"rules":[{"filters":[{"type":"RequestHeaderModifier","requestHeaderModifier":{"set":[{"name":"X-A","value":"1"}],"add":[{"name":"X-B","value":"2"}],"remove":["X-C"]}},{"type":"ResponseHeaderModifier","responseHeaderModifier":{"set":null,"add":null,"remove":["Server"]}},{"type":"URLRewrite","urlRewrite":{"hostname":"b.example.com","path":{"type":"ReplacePrefixMatch","replacePrefixMatch":"/x"}}},{"type":"RequestMirror","requestMirror":{"backendUrl":"https://mirror.ns.svc.cluster.local:443","percent":25,"tls":{"caBundle":"' +
      JSON.stringify(pem).slice(1, -1) +
      '","serverName":"mirror"}}},{"type":"CORS","cors":{"allowOrigins":["https://*.example.com"],"allowCredentials":true,"allowMethods":["GET","POST"],"allowHeaders":["*"],"exposeHeaders":null,"maxAge":600}}],"backends":[{"url":"http://svc:80","weight":1,"filters":[{"type":"RequestHeaderModifier","requestHeaderModifier":{"set":[{"name":"X-D","value":"4"}]}}]}]},{"filters":[{"type":"RequestRedirect","requestRedirect":{"scheme":"https","hostname":"c.example.com","port":8443,"path":{"type":"ReplaceFullPath","value":"/new"},"statusCode":301}}],"backends":null}]}',
    echo: {
      version: 4,
      rules: [
        {
          filters: [
            {
              type: 'RequestHeaderModifier',
              requestHeaderModifier: {
                set: [{ name: 'X-A', value: '1' }],
                add: [{ name: 'X-B', value: '2' }],
                remove: ['X-C'],
              },
            },
            { type: 'ResponseHeaderModifier', responseHeaderModifier: { remove: ['Server'] } },
            {
              type: 'URLRewrite',
              urlRewrite: {
                hostname: 'b.example.com',
                path: { type: 'ReplacePrefixMatch', replacePrefixMatch: '/x' },
              },
            },
            {
              type: 'RequestMirror',
              requestMirror: {
                backendUrl: 'https://mirror.ns.svc.cluster.local:443',
                percent: 25,
                tls: { caBundle: pem, serverName: 'mirror' },
              },
            },
            {
              type: 'CORS',
              cors: {
                allowOrigins: ['https://*.example.com'],
                allowCredentials: true,
                allowMethods: ['GET', 'POST'],
                allowHeaders: ['*'],
                maxAge: 600,
              },
            },
          ],
          backends: [
            {
              url: 'http://svc:80',
              weight: 1,
              filters: [
                {
                  type: 'RequestHeaderModifier',
                  requestHeaderModifier: { set: [{ name: 'X-D', value: '4' }] },
                },
              ],
            },
          ],
        },
        {
          filters: [
            {
              type: 'RequestRedirect',
              requestRedirect: {
                scheme: 'https',
                hostname: 'c.example.com',
                port: 8443,
                path: { type: 'ReplaceFullPath', value: '/new' },
                statusCode: 301,
              },
            },
          ],
        },
      ],
    },
  },
  {
    name: 'TLS to backends, with a client certificate in base64',
    json: `{"version":5,"rules":[{"backends":[{"url":"https://svc.ns.svc.cluster.local:8443","weight":1,"protocol":"","tls":{"caBundle":${JSON.stringify(pem)},"serverName":"svc.internal","subjectAltNames":["svc.internal"],"subjectAltNameUris":["spiffe://a/b"],"clientCertPem":"${btoa(pem)}","clientKeyPem":"${btoa(key)}"},"websocket":true},{"url":"http://grpc:9000","weight":0,"protocol":"h2c"}],"unavailableStatus":503}]}`,
    echo: {
      version: 5,
      rules: [
        {
          unavailableStatus: 503,
          backends: [
            {
              url: 'https://svc.ns.svc.cluster.local:8443',
              weight: 1,
              protocol: '',
              websocket: true,
              tls: {
                caBundle: pem,
                serverName: 'svc.internal',
                subjectAltNames: ['svc.internal'],
                subjectAltNameUris: ['spiffe://a/b'],
                clientCertPem: btoa(pem),
                clientKeyPem: btoa(key),
              },
            },
            { url: 'http://grpc:9000', weight: 0, protocol: 'h2c' },
          ],
        },
      ],
    },
  },
  {
    name: 'zero values where Go writes them',
    json: '{"version":6,"rules":[{"hostnames":null,"matches":[{"path":null,"method":"","headers":null,"queryParams":null}],"filters":null,"backends":[{"url":"http://svc:80","weight":0,"protocol":"","tls":null,"filters":null,"websocket":false,"unavailableStatus":0}],"timeouts":null,"unavailableStatus":0},{"backends":null,"timeouts":{"request":"0s","backend":"-1s"}}],"hasGrpcRoute":false}',
    echo: {
      version: 6,
      hasGrpcRoute: false,
      rules: [
        { matches: [{}], backends: [{ url: 'http://svc:80', weight: 0, protocol: '', websocket: false }] },
        { timeouts: { request: '0s', backend: '0s' } },
      ],
    },
  },
]
