// The bare Go gateway: net/http/httputil.ReverseProxy, as any Go program would use it, tuned for keep-alive.
package main

import (
	"log"
	"net/http"
	"net/http/httputil"
	"net/url"
	"os"
	"sync"
	"time"
)

type buffers struct{ pool sync.Pool }

func (b *buffers) Get() []byte  { return *b.pool.Get().(*[]byte) }
func (b *buffers) Put(p []byte) { b.pool.Put(&p) }

func main() {
	listen, host := os.Args[1], os.Args[2]
	backend, err := url.Parse(os.Args[3])
	if err != nil {
		log.Fatal(err)
	}
	proxy := &httputil.ReverseProxy{
		Rewrite: func(r *httputil.ProxyRequest) {
			r.SetURL(backend)
			r.Out.Host = r.In.Host
			r.SetXForwarded()
			r.Out.Header.Set("X-Bench", "1")
		},
		ModifyResponse: func(r *http.Response) error { r.Header.Set("X-Bench", "1"); return nil },
		BufferPool:     &buffers{sync.Pool{New: func() any { p := make([]byte, 32<<10); return &p }}},
		Transport: &http.Transport{
			MaxIdleConns: 512, MaxIdleConnsPerHost: 512, IdleConnTimeout: 300 * time.Second,
			DisableCompression: true, ResponseHeaderTimeout: 10 * time.Second,
		},
	}
	log.Fatal(http.ListenAndServe(listen, http.HandlerFunc(func(w http.ResponseWriter, r *http.Request) {
		if r.Host != host {
			http.NotFound(w, r)
			return
		}
		proxy.ServeHTTP(w, r)
	})))
}
