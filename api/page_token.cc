#include "api/page_token.h"

#include "absl/strings/escaping.h"
#include "absl/strings/str_cat.h"

#include "api/digest.h"
#include "segment/absl_view.h"

namespace segmentd {
namespace {

// Against mistakes, not against forgery: a token gives no right that the request has not.
constexpr size_t kChecksumSize = 8;

std::string Checksum(std::string_view request, std::string_view position) {
  return Sha256(absl::StrCat(Sha256(request), AbslView(position))).substr(0, kChecksumSize);
}

}  // namespace

std::string EncodePageToken(std::string_view request, const PagePosition& position) {
  std::string bytes = position.key;
  bytes.push_back('\0');
  bytes += position.id;
  return absl::WebSafeBase64Escape(absl::StrCat(Checksum(request, bytes), bytes));
}

std::optional<PagePosition> DecodePageToken(std::string_view request, std::string_view token) {
  std::string bytes;
  if (!absl::WebSafeBase64Unescape(AbslView(token), &bytes) || bytes.size() <= kChecksumSize) {
    return std::nullopt;
  }
  const std::string_view position = std::string_view(bytes).substr(kChecksumSize);
  if (Checksum(request, position) != std::string_view(bytes).substr(0, kChecksumSize)) {
    return std::nullopt;
  }
  const size_t end = position.rfind('\0');
  if (end == std::string_view::npos) return std::nullopt;
  return PagePosition{std::string(position.substr(0, end)), std::string(position.substr(end + 1))};
}

}  // namespace segmentd
