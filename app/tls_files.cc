#include "app/tls_files.h"

#include <openssl/err.h>
#include <openssl/pem.h>
#include <openssl/ssl.h>
#include <openssl/x509.h>

#include <memory>
#include <utility>
#include <vector>

#include "absl/status/status.h"
#include "absl/strings/str_cat.h"

#include "app/console.h"
#include "segment/absl_view.h"

namespace segmentd {
namespace {

constexpr size_t kMaxPemBytes = 1 << 20;

using Bio = std::unique_ptr<BIO, decltype(&BIO_free)>;
using Certificate = std::unique_ptr<X509, decltype(&X509_free)>;
using Key = std::unique_ptr<EVP_PKEY, decltype(&EVP_PKEY_free)>;

// An option and the file that it names.
struct Source {
  std::string_view option;
  const std::string& path;

  absl::Status wrong(const std::string& what) const {
    return absl::InvalidArgumentError(absl::StrCat(AbslView(option), ": ", path, what));
  }
};

Bio Opened(const std::string& text) {
  return Bio(BIO_new_mem_buf(text.data(), static_cast<int>(text.size())), BIO_free);
}

// What OpenSSL says went wrong last, and forgets.
std::string Reason() {
  const char* reason = ERR_reason_error_string(ERR_peek_last_error());
  ERR_clear_error();
  return reason == nullptr ? "damaged" : reason;
}

// Instead of a question on the terminal: takes none, and notes that there was one.
int NotePassphrase(char*, int, int, void* asked) {
  *static_cast<bool*>(asked) = true;
  return -1;
}

absl::StatusOr<std::string> ReadText(const Source& source) {
  absl::StatusOr<std::string> text = ReadWhole(source.path, kMaxPemBytes);
  if (text.ok()) return text;
  return absl::InvalidArgumentError(absl::StrCat(AbslView(source.option), ": ",
                                                 text.status().message(),
                                                 "; name a PEM file that can be read"));
}

// All in the text, where gRPC would end at the first damaged one. At least one.
absl::StatusOr<std::vector<Certificate>> Certificates(const Source& source,
                                                      const std::string& text) {
  std::vector<Certificate> found;
  bool asked = false;
  const Bio bio = Opened(text);
  ERR_clear_error();
  while (X509* next = PEM_read_bio_X509_AUX(bio.get(), nullptr, NotePassphrase, &asked)) {
    found.emplace_back(next, X509_free);
  }
  const unsigned long end = ERR_peek_last_error();
  if (ERR_GET_LIB(end) != ERR_LIB_PEM || ERR_GET_REASON(end) != PEM_R_NO_START_LINE) {
    return source.wrong(absl::StrCat(": its certificate number ", found.size() + 1,
                                     " can't be read (", Reason(), "); write the file anew"));
  }
  ERR_clear_error();
  if (found.empty()) {
    return source.wrong(
        " holds no certificate; name a PEM file, with -----BEGIN CERTIFICATE----- in it");
  }
  return found;
}

absl::StatusOr<Key> PrivateKey(const Source& source, const std::string& text) {
  bool asked = false;
  ERR_clear_error();
  Key key(PEM_read_bio_PrivateKey(Opened(text).get(), nullptr, NotePassphrase, &asked),
          EVP_PKEY_free);
  if (key != nullptr) return key;
  ERR_clear_error();
  if (asked) {
    return source.wrong(
        " is encrypted, and no passphrase is asked for; name a decrypted one, as `openssl pkey` "
        "writes it");
  }
  // Of a file without a key OpenSSL says no more than of a damaged one.
  return source.wrong(
      " holds no private key that can be read; name a PEM file, with -----BEGIN PRIVATE KEY----- "
      "in it");
}

absl::Status CheckPair(const Source& certificate_source, const std::string& certificate_text,
                       const Source& key_source, const std::string& key_text) {
  const absl::StatusOr<std::vector<Certificate>> chain =
      Certificates(certificate_source, certificate_text);
  if (!chain.ok()) return chain.status();
  const absl::StatusOr<Key> key = PrivateKey(key_source, key_text);
  if (!key.ok()) return key.status();
  X509* own = chain->front().get();
  if (X509_check_private_key(own, key->get()) != 1) {
    ERR_clear_error();
    return key_source.wrong(absl::StrCat(
        " is not the key of the first certificate in ", certificate_source.path,
        " (--tls-cert); name the key that it was made with, and let the own certificate stand "
        "before those of its authorities"));
  }
  // Knows what is too weak for a handshake.
  const std::unique_ptr<SSL_CTX, decltype(&SSL_CTX_free)> context(SSL_CTX_new(TLS_method()),
                                                                  SSL_CTX_free);
  if (context != nullptr && SSL_CTX_use_certificate(context.get(), own) != 1) {
    return certificate_source.wrong(
        absl::StrCat(" can't be used for TLS (", Reason(), "); name another"));
  }
  return absl::OkStatus();
}

}  // namespace

absl::StatusOr<TlsFiles> TlsFiles::Read(const TlsPaths& paths) {
  if (paths.certificate.empty() != paths.key.empty()) {
    return absl::InvalidArgumentError("--tls-cert and --tls-key go together: give both");
  }
  const Source ca{paths.ca_option, paths.ca};
  const Source certificate{"--tls-cert", paths.certificate};
  const Source key{"--tls-key", paths.key};
  TlsFiles files;
  for (const auto& [source, text] :
       {std::pair{&ca, &files.ca}, std::pair{&certificate, &files.certificate},
        std::pair{&key, &files.key}}) {
    if (source->path.empty()) continue;
    absl::StatusOr<std::string> read = ReadText(*source);
    if (!read.ok()) return read.status();
    *text = *std::move(read);
  }
  if (!paths.ca.empty()) {
    if (absl::Status status = Certificates(ca, files.ca).status(); !status.ok()) return status;
  }
  if (!paths.certificate.empty()) {
    absl::Status status = CheckPair(certificate, files.certificate, key, files.key);
    if (!status.ok()) return status;
  }
  return files;
}

}  // namespace segmentd
