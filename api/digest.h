// SHA-256, for etags, page tokens and bearer tokens.
#pragma once

#include <string>
#include <string_view>

namespace segmentd {

// 32 bytes.
std::string Sha256(std::string_view bytes);

// Equal, in a time that does not depend on where the bytes differ.
bool EqualInConstantTime(std::string_view a, std::string_view b);

}  // namespace segmentd
