// Bytes as an earlier version stored them, in tests/unit/golden.
#pragma once

#include <string>

namespace segmentd {

// A golden file is bytes in hex; "#" begins a comment. A file is never changed: a new format gets
// new files.
std::string ReadGolden(const std::string& name);

}  // namespace segmentd
