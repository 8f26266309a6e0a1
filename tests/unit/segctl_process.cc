#include "tests/unit/segctl_process.h"

#include <gtest/gtest.h>
#include <stdio.h>
#include <stdlib.h>
#include <sys/wait.h>

#include <array>
#include <fstream>

namespace segmentd {

SegctlResult Segctl(const std::string& arguments, const std::string& server) {
  const char* folder = getenv("SEGMENTD_BIN_DIR");
  const std::string program = std::string(folder == nullptr ? "build/bin" : folder) + "/segctl ";
  FILE* pipe = popen(("SEGCTL_SERVER=" + server + " " + program + arguments).c_str(), "r");
  SegctlResult result;
  std::array<char, 4096> part;
  size_t got = 0;
  while ((got = fread(part.data(), 1, part.size(), pipe)) > 0) result.text.append(part.data(), got);
  result.status = WEXITSTATUS(pclose(pipe));
  return result;
}

std::string FileWith(const std::string& name, const std::string& text) {
  std::string path = testing::TempDir() + "segctl_test_" + name;
  std::ofstream(path) << text;
  return path;
}

}  // namespace segmentd
