// Who somebody is in TLS, made up for a test.
#pragma once

#include <openssl/evp.h>
#include <openssl/x509.h>

#include <memory>
#include <string>

namespace segmentd {

// A key and a certificate of it for 127.0.0.1, signed by an issuer or, of an authority, by itself.
class Identity {
 public:
  // Takes `key`.
  Identity(const std::string& name, const Identity* issuer, EVP_PKEY* key = EVP_EC_gen("P-256"));

  std::string key_pem() const;
  // Encrypted with that.
  std::string key_pem(const std::string& passphrase) const;
  std::string certificate_pem() const;

 private:
  void add(int kind, const char* value);

  std::unique_ptr<EVP_PKEY, decltype(&EVP_PKEY_free)> key_;
  std::unique_ptr<X509, decltype(&X509_free)> certificate_;
};

}  // namespace segmentd
