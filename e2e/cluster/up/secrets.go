package up

import (
	"crypto/ecdsa"
	"crypto/elliptic"
	"crypto/rand"
	"crypto/x509"
	"crypto/x509/pkix"
	"encoding/hex"
	"encoding/pem"
	"fmt"
	"math/big"
	"net"
	"os"
	"time"

	"k8s.io/client-go/tools/clientcmd"
	"k8s.io/client-go/tools/clientcmd/api"

	"genkan/e2e/cluster/layout"
)

// secrets are the files of keys and certificates, made anew for each cluster.
type secrets struct {
	// authority signs the API server's certificate, certificate and key.
	authority, certificate, key string
	// accounts is the key of service account tokens, tokens the file of fixed ones.
	accounts, tokens string
}

func makeSecrets(l layout.Layout) (secrets, error) {
	s := secrets{
		authority: l.File("pki", "ca.crt"), certificate: l.File("pki", "apiserver.crt"), key: l.File("pki", "apiserver.key"),
		accounts: l.File("pki", "accounts.key"), tokens: l.File("pki", "tokens.csv"),
	}
	if err := s.certify(l); err != nil {
		return s, err
	}
	if _, err := writeKey(s.accounts); err != nil {
		return s, err
	}
	random := make([]byte, 16)
	if _, err := rand.Read(random); err != nil {
		return s, err
	}
	token := hex.EncodeToString(random)
	line := token + ",admin,admin,\"system:masters\"\n"
	if err := os.WriteFile(s.tokens, []byte(line), 0o600); err != nil {
		return s, err
	}
	config := api.NewConfig()
	config.Clusters["genkan"] = &api.Cluster{
		Server:               fmt.Sprintf("https://%s:%d", l.API(), layout.APIPort),
		CertificateAuthority: s.authority,
	}
	config.AuthInfos["admin"] = &api.AuthInfo{Token: token}
	config.Contexts["genkan"] = &api.Context{Cluster: "genkan", AuthInfo: "admin"}
	config.CurrentContext = "genkan"
	if err := clientcmd.WriteToFile(*config, l.Kubeconfig()); err != nil {
		return s, err
	}
	return s, nil
}

// certify writes the authority's certificate, and the API server's certificate and key.
func (s secrets) certify(l layout.Layout) error {
	authorityKey, err := ecdsa.GenerateKey(elliptic.P256(), rand.Reader)
	if err != nil {
		return err
	}
	authority := &x509.Certificate{
		SerialNumber: big.NewInt(1), Subject: pkix.Name{CommonName: "genkan-cluster"},
		NotBefore: time.Now().Add(-time.Hour), NotAfter: time.Now().AddDate(1, 0, 0),
		IsCA: true, BasicConstraintsValid: true, KeyUsage: x509.KeyUsageCertSign,
	}
	if err := writeCertificate(s.authority, authority, authority, authorityKey.Public(), authorityKey); err != nil {
		return err
	}
	key, err := writeKey(s.key)
	if err != nil {
		return err
	}
	serving := &x509.Certificate{
		SerialNumber: big.NewInt(2), Subject: pkix.Name{CommonName: "kube-apiserver"},
		NotBefore: authority.NotBefore, NotAfter: authority.NotAfter,
		KeyUsage: x509.KeyUsageDigitalSignature, ExtKeyUsage: []x509.ExtKeyUsage{x509.ExtKeyUsageServerAuth},
		DNSNames:    []string{"localhost", "kubernetes", "kubernetes.default", "kubernetes.default.svc"},
		IPAddresses: []net.IP{l.API().AsSlice(), net.IPv4(127, 0, 0, 1)},
	}
	return writeCertificate(s.certificate, serving, authority, key.Public(), authorityKey)
}

func writeCertificate(path string, template, parent *x509.Certificate, public any, signer *ecdsa.PrivateKey) error {
	der, err := x509.CreateCertificate(rand.Reader, template, parent, public, signer)
	if err != nil {
		return err
	}
	return os.WriteFile(path, pem.EncodeToMemory(&pem.Block{Type: "CERTIFICATE", Bytes: der}), 0o644)
}

func writeKey(path string) (*ecdsa.PrivateKey, error) {
	key, err := ecdsa.GenerateKey(elliptic.P256(), rand.Reader)
	if err != nil {
		return nil, err
	}
	der, err := x509.MarshalECPrivateKey(key)
	if err != nil {
		return nil, err
	}
	return key, os.WriteFile(path, pem.EncodeToMemory(&pem.Block{Type: "EC PRIVATE KEY", Bytes: der}), 0o600)
}
