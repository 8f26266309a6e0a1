// Where a page of a list ended, as opaque text that only fits the request it was made for.
#pragma once

#include <optional>
#include <string>
#include <string_view>

namespace segmentd {

// The last item of a page: the key it is sorted by, then its ID.
struct PagePosition {
  std::string key;
  // Without NUL.
  std::string id;
};

// `request` stands for all that must stay the same from page to page.
std::string EncodePageToken(std::string_view request, const PagePosition& position);

// Nothing for a token that is damaged, or of another request.
std::optional<PagePosition> DecodePageToken(std::string_view request, std::string_view token);

}  // namespace segmentd
