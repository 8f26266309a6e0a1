#include "tests/unit/identity.h"

#include <gtest/gtest.h>
#include <openssl/pem.h>
#include <openssl/x509v3.h>

namespace segmentd {
namespace {

template <typename Write>
std::string Written(Write write) {
  std::unique_ptr<BIO, decltype(&BIO_free)> bio(BIO_new(BIO_s_mem()), BIO_free);
  write(bio.get());
  char* data = nullptr;
  const long size = BIO_get_mem_data(bio.get(), &data);
  return std::string(data, static_cast<size_t>(size));
}

}  // namespace

Identity::Identity(const std::string& name, const Identity* issuer, EVP_PKEY* key)
    : key_(key, EVP_PKEY_free), certificate_(X509_new(), X509_free) {
  X509* x509 = certificate_.get();
  X509_set_version(x509, 2);
  static int serial = 0;
  ASN1_INTEGER_set(X509_get_serialNumber(x509), ++serial);
  X509_gmtime_adj(X509_getm_notBefore(x509), -3600);
  X509_gmtime_adj(X509_getm_notAfter(x509), 3600);
  X509_set_pubkey(x509, key_.get());
  X509_NAME* subject = X509_get_subject_name(x509);
  X509_NAME_add_entry_by_txt(subject, "CN", MBSTRING_ASC,
                             reinterpret_cast<const unsigned char*>(name.c_str()), -1, -1, 0);
  const Identity& signer = issuer == nullptr ? *this : *issuer;
  X509_set_issuer_name(x509, X509_get_subject_name(signer.certificate_.get()));
  add(NID_basic_constraints, issuer == nullptr ? "critical,CA:TRUE" : "CA:FALSE");
  add(NID_subject_alt_name, "IP:127.0.0.1");
  EXPECT_GT(X509_sign(x509, signer.key_.get(), EVP_sha256()), 0);
}

std::string Identity::key_pem() const {
  return Written([this](BIO* bio) {
    PEM_write_bio_PrivateKey(bio, key_.get(), nullptr, nullptr, 0, nullptr, nullptr);
  });
}

std::string Identity::key_pem(const std::string& passphrase) const {
  return Written([&](BIO* bio) {
    PEM_write_bio_PrivateKey(bio, key_.get(), EVP_aes_256_cbc(),
                             reinterpret_cast<const unsigned char*>(passphrase.data()),
                             static_cast<int>(passphrase.size()), nullptr, nullptr);
  });
}

std::string Identity::certificate_pem() const {
  return Written([this](BIO* bio) { PEM_write_bio_X509(bio, certificate_.get()); });
}

void Identity::add(int kind, const char* value) {
  X509_EXTENSION* extension = X509V3_EXT_conf_nid(nullptr, nullptr, kind, value);
  ASSERT_NE(extension, nullptr);
  X509_add_ext(certificate_.get(), extension, -1);
  X509_EXTENSION_free(extension);
}

}  // namespace segmentd
