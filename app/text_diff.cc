#include "app/text_diff.h"

#include <algorithm>
#include <cstdint>

namespace segmentd {
namespace {

std::vector<std::string_view> Lines(std::string_view text) {
  std::vector<std::string_view> lines;
  while (!text.empty()) {
    const size_t end = std::min(text.find('\n'), text.size());
    lines.push_back(text.substr(0, end));
    text.remove_prefix(std::min(end + 1, text.size()));
  }
  return lines;
}

}  // namespace

std::vector<DiffLine> DiffLines(std::string_view old_text, std::string_view new_text) {
  const std::vector<std::string_view> before = Lines(old_text);
  const std::vector<std::string_view> after = Lines(new_text);
  // common[i][j]: how many lines the rests from i and j have in common at most.
  const size_t width = after.size() + 1;
  std::vector<uint32_t> common((before.size() + 1) * width);
  for (size_t i = before.size(); i-- > 0;) {
    for (size_t j = after.size(); j-- > 0;) {
      common[i * width + j] =
          before[i] == after[j] ? common[(i + 1) * width + j + 1] + 1
                                : std::max(common[(i + 1) * width + j], common[i * width + j + 1]);
    }
  }
  std::vector<DiffLine> lines;
  size_t i = 0;
  size_t j = 0;
  while (i < before.size() || j < after.size()) {
    if (i < before.size() && j < after.size() && before[i] == after[j]) {
      lines.push_back({' ', std::string(before[i++])});
      ++j;
    } else if (j == after.size() ||
               (i < before.size() && common[(i + 1) * width + j] >= common[i * width + j + 1])) {
      lines.push_back({'-', std::string(before[i++])});
    } else {
      lines.push_back({'+', std::string(after[j++])});
    }
  }
  return lines;
}

}  // namespace segmentd
