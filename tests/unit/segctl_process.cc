#include "tests/unit/segctl_process.h"

#include <gtest/gtest.h>
#include <stdio.h>
#include <stdlib.h>
#include <sys/wait.h>

#include <array>
#include <fstream>

namespace segmentd {

namespace {

// `before` and `after` the path of the program.
SegctlResult Run(const std::string& before, const std::string& program, const std::string& after) {
  const char* folder = getenv("SEGMENTD_BIN_DIR");
  const std::string path = std::string(folder == nullptr ? "build/bin" : folder) + "/" + program;
  FILE* pipe = popen((before + path + " " + after).c_str(), "r");
  SegctlResult result;
  std::array<char, 4096> part;
  size_t got = 0;
  while ((got = fread(part.data(), 1, part.size(), pipe)) > 0) result.text.append(part.data(), got);
  result.status = WEXITSTATUS(pclose(pipe));
  return result;
}

}  // namespace

SegctlResult Segctl(const std::string& arguments, const std::string& server) {
  return Run("SEGCTL_SERVER=" + server + " ", "segctl", arguments);
}

SegctlResult Segmentd(const std::string& arguments) {
  return Run("", "segmentd", arguments);
}

std::string FileWith(const std::string& name, const std::string& text) {
  std::string path = testing::TempDir() + "segctl_test_" + name;
  std::ofstream(path) << text;
  return path;
}

}  // namespace segmentd
