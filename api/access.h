// Who may call what: bearer tokens with a role, kept as SHA-256 hashes in a file.
//
// A file has one token a line, "<role> <64 hex digits>", where the digits are the token's SHA-256;
// "#" starts a comment. Health and reflection need no token.
#pragma once

#include <optional>
#include <string>
#include <string_view>
#include <vector>

#include "absl/status/status.h"
#include "absl/status/statusor.h"

namespace segmentd {

// Each role may do what the ones before it may.
enum class Role { kRead, kWrite, kAdmin };

// Immutable; any thread may ask.
class Access {
 public:
  // Everyone may do everything: for a server that only its own machine reaches.
  static Access Open() { return Access(); }
  // INVALID_ARGUMENT names the line; NOT_FOUND when the file can't be read.
  static absl::StatusOr<Access> FromFile(const std::string& path);
  static absl::StatusOr<Access> FromText(std::string_view text);

  // `authorization` is the call's metadata of that name. UNAUTHENTICATED without a known token,
  // PERMISSION_DENIED when its role is too low.
  absl::Status Check(std::optional<std::string_view> authorization, Role needed) const;

 private:
  struct Token {
    std::string sha256;
    Role role;
  };
  // Empty: open.
  std::vector<Token> tokens_;
};

}  // namespace segmentd
