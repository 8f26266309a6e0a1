#include "api/access.h"

#include <algorithm>
#include <fstream>
#include <sstream>

#include "absl/strings/ascii.h"
#include "absl/strings/escaping.h"
#include "absl/strings/match.h"
#include "absl/strings/str_cat.h"
#include "absl/strings/str_split.h"

#include "api/digest.h"
#include "segment/absl_view.h"

namespace segmentd {
namespace {

constexpr absl::string_view kForm =
    "write \"<role> <SHA-256 of the token in 64 hex digits>\", where the role is read, write or "
    "admin";

std::optional<Role> RoleByName(std::string_view name) {
  if (name == "read") return Role::kRead;
  if (name == "write") return Role::kWrite;
  if (name == "admin") return Role::kAdmin;
  return std::nullopt;
}

absl::string_view NameOf(Role role) {
  switch (role) {
    case Role::kRead:
      return "read";
    case Role::kWrite:
      return "write";
    case Role::kAdmin:
      return "admin";
  }
  return "unknown";
}

}  // namespace

absl::StatusOr<Access> Access::FromFile(const std::string& path) {
  std::ifstream file(path);
  std::ostringstream text;
  if (!file || !(text << file.rdbuf())) {
    return absl::NotFoundError(
        absl::StrCat("can't read the token file ", path,
                     ", or it is empty; it holds one token a line: ", kForm));
  }
  absl::StatusOr<Access> access = FromText(text.str());
  if (!access.ok()) {
    return absl::Status(access.status().code(),
                        absl::StrCat("token file ", path, ": ", access.status().message()));
  }
  return access;
}

absl::StatusOr<Access> Access::FromText(std::string_view text) {
  Access access;
  int number = 0;
  for (absl::string_view line : absl::StrSplit(AbslView(text), '\n')) {
    ++number;
    line = line.substr(0, line.find('#'));
    const std::vector<absl::string_view> words =
        absl::StrSplit(line, absl::ByAnyChar(" \t\r"), absl::SkipEmpty());
    if (words.empty()) continue;
    const std::optional<Role> role = RoleByName(StdView(words[0]));
    const bool hex = words.size() == 2 && words[1].size() == 64 &&
                     std::all_of(words[1].begin(), words[1].end(), absl::ascii_isxdigit);
    if (!role || !hex) {
      return absl::InvalidArgumentError(absl::StrCat("line ", number, ": ", kForm));
    }
    access.tokens_.push_back({absl::HexStringToBytes(words[1]), *role});
  }
  if (access.tokens_.empty()) {
    return absl::InvalidArgumentError(absl::StrCat("no token in it: ", kForm));
  }
  return access;
}

absl::Status Access::Check(std::optional<std::string_view> authorization, Role needed) const {
  if (tokens_.empty()) return absl::OkStatus();
  constexpr std::string_view kScheme = "bearer ";
  if (!authorization || !absl::StartsWithIgnoreCase(AbslView(*authorization), AbslView(kScheme))) {
    return absl::UnauthenticatedError(
        "a token is needed: send it as metadata \"authorization: Bearer <token>\"");
  }
  const std::string given =
      Sha256(StdView(absl::StripAsciiWhitespace(AbslView(authorization->substr(kScheme.size())))));
  // All are compared, so that the time taken does not tell which one came close.
  const Token* found = nullptr;
  for (const Token& token : tokens_) {
    if (EqualInConstantTime(token.sha256, given)) found = &token;
  }
  if (found == nullptr) {
    return absl::UnauthenticatedError("this token is not in the server's token file");
  }
  if (found->role < needed) {
    return absl::PermissionDeniedError(absl::StrCat("this token has the role ", NameOf(found->role),
                                                    "; the call needs ", NameOf(needed)));
  }
  return absl::OkStatus();
}

}  // namespace segmentd
