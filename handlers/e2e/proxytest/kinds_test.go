package proxytest

import (
	"os"
	"strings"
	"testing"
	"time"
)

var nginx = kind{
	name: "nginx", config: "nginx.conf", listen: "listen 80;", replace: "listen %[1]s:%[2]s;", watches: true,
	around: func(_ *testing.T, p *proxy, file string, idle time.Duration) []string {
		all := []string{
			"daemon off;", "worker_processes 2;", "pid pid;", "error_log stderr warn;",
			"events { worker_connections 4096; }",
			"http {", "access_log off;", "gzip on;", "gzip_proxied any;",
			"gzip_types text/event-stream application/json;",
			"proxy_read_timeout " + seconds(idle) + ";",
		}
		for _, of := range []string{"client_body", "proxy", "fastcgi", "uwsgi", "scgi"} {
			all = append(all, of+"_temp_path "+of+";")
		}
		if os.Geteuid() == 0 {
			all = append([]string{"user root;"}, all...) // the directory belongs to root
		}
		main := p.write("main.conf", lines(append(all, "include '"+file+"';", "}")...))
		return []string{"-p", p.dir, "-e", "stderr", "-c", main}
	},
}

var haproxy = kind{
	name: "haproxy", config: "haproxy.cfg", listen: "bind :80", replace: "bind %[1]s:%[2]s",
	around: func(_ *testing.T, p *proxy, file string, idle time.Duration) []string {
		main := p.write("main.cfg", lines(
			"global", "maxconn 8000",
			"defaults", "mode http", "timeout connect 5s", "timeout client "+seconds(idle)+"s",
			"timeout server "+seconds(idle)+"s",
			"compression algo gzip", "compression type text/event-stream application/json"))
		return []string{"-db", "-f", main, "-f", file}
	},
}

var caddy = kind{
	name: "caddy", config: "Caddyfile", listen: ":80 {", replace: "http://%[1]s:%[2]s {", watches: true,
	around: func(t *testing.T, p *proxy, file string, idle time.Duration) []string {
		shown, err := os.ReadFile(file)
		if err != nil {
			t.Fatal(err)
		}
		// By default Caddy has no read timeout. It belongs into the block of reverse_proxy.
		const block = "\treverse_proxy {\n"
		mine := strings.NewReplacer("\n{\n", "\n{\nadmin off\n", block, block+
			lines("transport http {", "read_timeout "+seconds(idle)+"s", "}")).Replace(string(shown))
		return []string{"run", "--adapter", "caddyfile", "--config", p.write("main", mine)}
	},
}

var apache = kind{
	name: "apache2", config: "apache.conf", listen: "<VirtualHost *:80>",
	replace: "<VirtualHost %[1]s:%[2]s>",
	around: func(_ *testing.T, p *proxy, file string, idle time.Duration) []string {
		all := []string{
			"ServerName guild", "Listen " + p.addr, "PidFile pid", "DefaultRuntimeDir .",
			"ErrorLog /dev/stderr", "Timeout 300",
			"StartServers 2", "MaxRequestWorkers 150",
			"ProxyTimeout " + seconds(idle),
		}
		if os.Geteuid() == 0 {
			all = append(all, "User www-data", "Group www-data")
		}
		for _, module := range []string{
			"mpm_event", "authz_core", "reqtimeout", "filter", "deflate", "proxy",
			"proxy_http",
		} {
			all = append(all, "LoadModule "+module+"_module /usr/lib/apache2/modules/mod_"+module+".so")
		}
		all = append(all, "RequestReadTimeout header=20-40,minrate=500 body=10,minrate=500",
			"AddOutputFilterByType DEFLATE text/event-stream application/json", `Include "`+file+`"`)
		return []string{"-D", "FOREGROUND", "-d", p.dir, "-f", p.write("main.conf", lines(all...))}
	},
}
