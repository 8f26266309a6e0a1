// The files of TLS, as options name them: wrong ones are found before anything is connected to.
#pragma once

#include <string>
#include <string_view>

#include "absl/status/statusor.h"

namespace segmentd {

// Empty where no file is given.
struct TlsPaths {
  // The two programs trust different authorities.
  std::string_view ca_option;
  std::string ca;
  // --tls-cert and --tls-key.
  std::string certificate;
  std::string key;
};

// What the files hold, PEM; empty for a file that is not given. Each is read once: it may be a
// pipe.
struct TlsFiles {
  std::string ca;
  std::string certificate;
  std::string key;

  // INVALID_ARGUMENT, with the option, the file and what to do, for a file that can't be read,
  // holds something else or is damaged, for a key that is not the certificate's, and for a
  // certificate without a key or a key without a certificate.
  static absl::StatusOr<TlsFiles> Read(const TlsPaths& paths);
};

}  // namespace segmentd
