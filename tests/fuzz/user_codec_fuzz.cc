// Any bytes are read safely as a user's image and as a changelog key, and what can be read is
// written and read the same.

#include <cstddef>
#include <cstdint>
#include <cstdio>
#include <cstdlib>
#include <string>
#include <string_view>

#include "state/changelog_codec.h"
#include "state/user_codec.h"
#include "tests/unit/user_state_equality.h"

namespace segmentd {
namespace {

void Check(bool holds, const char* what) {
  if (holds) return;
  std::fprintf(stderr, "%s\n", what);
  std::abort();
}

void Image(std::string_view bytes) {
  UserState user;
  Offset included;
  if (!ParseUserImage(bytes, &user, &included).ok()) return;
  std::string image;
  AppendUserImage(user, included, &image);
  UserState again;
  Offset included_again;
  Check(ParseUserImage(image, &again, &included_again).ok(), "the written image can't be read");
  const char* difference = Difference(user, again);
  Check(difference == nullptr, difference);
  Check(included == included_again, "included");
}

void Key(std::string_view bytes) {
  const auto key = ParseChangelogKey(bytes);
  if (!key.ok()) return;
  std::string again;
  FormatChangelogKey(*key, &again);
  Check(again == bytes, "the key is not the same");
}

}  // namespace
}  // namespace segmentd

extern "C" int LLVMFuzzerTestOneInput(const uint8_t* data, size_t size) {
  const std::string_view bytes(reinterpret_cast<const char*>(data), size);
  segmentd::Image(bytes);
  segmentd::Key(bytes);
  return 0;
}
