// Words out of bytes, wherever these stand.
#pragma once

#include <cstring>

namespace segmentd {

// `from`: sizeof(Word) bytes that can be read; in the order of the machine.
template <typename Word>
inline Word ReadUnaligned(const char* from) {
  Word word;
  std::memcpy(&word, from, sizeof(word));
  return word;
}

}  // namespace segmentd
