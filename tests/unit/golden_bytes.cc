#include "tests/unit/golden_bytes.h"

#include <gtest/gtest.h>

#include <fstream>

#include "absl/strings/escaping.h"

namespace segmentd {

std::string ReadGolden(const std::string& name) {
  std::ifstream file("tests/unit/golden/" + name);
  EXPECT_TRUE(file) << "run the test from the root of the repository";
  std::string line;
  std::string hex;
  while (std::getline(file, line)) {
    for (char c : line.substr(0, line.find('#'))) {
      if (c != ' ') hex += c;
    }
  }
  return absl::HexStringToBytes(hex);
}

}  // namespace segmentd
