// The lines by which two short texts differ.
#pragma once

#include <string>
#include <string_view>
#include <vector>

namespace segmentd {

struct DiffLine {
  // ' ' in both, '-' only in the old, '+' only in the new.
  char kind;
  std::string text;
};

// The shortest way from one to the other, all lines. Time and memory grow with the product of the
// numbers of lines.
std::vector<DiffLine> DiffLines(std::string_view old_text, std::string_view new_text);

}  // namespace segmentd
