// An address to listen on, as options give it.
#pragma once

#include <string>
#include <string_view>

#include "absl/status/status.h"
#include "absl/status/statusor.h"

namespace segmentd {

struct ListenAddress {
  // Without the brackets of an IPv6 address.
  std::string host;
  int port = 0;

  // "127.0.0.1:7600", "[::1]:7600"; INVALID_ARGUMENT for anything else.
  static absl::StatusOr<ListenAddress> Parse(const std::string& text);

  // Only this machine can reach it.
  bool loopback() const;

  // UNAVAILABLE when the port is taken, or the host is none of this machine; known before anything
  // else is started.
  absl::Status check_free() const;
};

}  // namespace segmentd
