// Dns stands for CoreDNS in the conformance suite, whose one test of it takes any answer: it tells each client the
// address that it asked from, as CoreDNS does with the plugin `whoami` in the suite's Corefile. Flags are not read.
package main

import (
	"log"
	"net"

	"github.com/miekg/dns"
)

func main() {
	server := &dns.Server{Addr: ":53", Net: "udp", Handler: dns.HandlerFunc(answer)}
	log.Fatal(server.ListenAndServe())
}

func answer(to dns.ResponseWriter, question *dns.Msg) {
	reply := new(dns.Msg).SetReply(question)
	if from, ok := to.RemoteAddr().(*net.UDPAddr); ok && len(question.Question) == 1 {
		header := dns.RR_Header{Name: question.Question[0].Name, Rrtype: dns.TypeA, Class: dns.ClassINET}
		reply.Extra = append(reply.Extra, &dns.A{Hdr: header, A: from.IP})
	}
	if err := to.WriteMsg(reply); err != nil {
		log.Print(err)
	}
}
