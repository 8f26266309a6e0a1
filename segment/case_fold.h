// Case folding of UTF-8 text, one character to one character: "ÉTÉ" and "été" become the same,
// "STRASSE" and "Straße" do not.
#pragma once

#include <cstddef>
#include <memory>
#include <string_view>

namespace segmentd {

// A text folded by Unicode's simple case folding (CaseFolding.txt, status C and S); bytes that are
// no UTF-8 stay as they are. Texts to 340 bytes are folded without allocating.
class FoldedText {
 public:
  explicit FoldedText(std::string_view text);
  FoldedText(const FoldedText&) = delete;
  FoldedText& operator=(const FoldedText&) = delete;

  std::string_view view() const { return {large_ ? large_.get() : small_, size_}; }

 private:
  size_t size_ = 0;
  std::unique_ptr<char[]> large_;
  char small_[512];
};

}  // namespace segmentd
