#include <gtest/gtest.h>

#include <algorithm>
#include <cctype>
#include <cstdlib>
#include <filesystem>
#include <fstream>
#include <sstream>
#include <string>
#include <vector>

#include "tests/scenarios/scenario.h"

namespace segmentd::scenario {
namespace {

std::vector<std::string> Files() {
  std::vector<std::string> files;
  for (const auto& entry : std::filesystem::recursive_directory_iterator("tests/scenarios")) {
    if (entry.path().extension() == ".scenario") files.push_back(entry.path().string());
  }
  std::sort(files.begin(), files.end());
  return files;
}

class ScenarioFile : public testing::TestWithParam<std::string> {};

TEST_P(ScenarioFile, GivesItsChanges) {
  std::ifstream in(GetParam());
  std::ostringstream text;
  text << in.rdbuf();
  const std::string actual = RunScenario(text.str());
  if (std::getenv("SEGMENTD_REWRITE")) {
    std::ofstream(GetParam()) << actual;
    return;
  }
  EXPECT_EQ(actual, text.str()) << GetParam();
}

std::string NameOf(const testing::TestParamInfo<std::string>& file) {
  std::string name =
      std::filesystem::path(file.param).lexically_relative("tests/scenarios").replace_extension();
  for (char& c : name) {
    if (!std::isalnum(static_cast<unsigned char>(c))) c = '_';
  }
  return name;
}

INSTANTIATE_TEST_SUITE_P(, ScenarioFile, testing::ValuesIn(Files()), NameOf);

TEST(Scenarios, AreThere) {
  EXPECT_GE(Files().size(), 120U);
}

}  // namespace
}  // namespace segmentd::scenario
