// Where the version of the time zone data is read, and what is made of it.

#include "app/time_zone_data.h"

#include <gtest/gtest.h>
#include <stdlib.h>

#include <filesystem>
#include <fstream>
#include <string>

namespace segmentd {
namespace {

// Where time zones are read, for as long as it lives.
class ZoneFolder {
 public:
  explicit ZoneFolder(const std::string& folder) { setenv("TZDIR", folder.c_str(), 1); }
  ~ZoneFolder() { unsetenv("TZDIR"); }
  ZoneFolder(const ZoneFolder&) = delete;
  ZoneFolder& operator=(const ZoneFolder&) = delete;
};

std::string VersionIn(const std::string& text) {
  const std::filesystem::path folder =
      std::filesystem::path(testing::TempDir()) / "time_zone_data_test";
  std::filesystem::create_directories(folder);
  std::ofstream(folder / "tzdata.zi") << text;
  const ZoneFolder zones(folder);
  return TimeZoneDataVersion();
}

TEST(TimeZoneData, VersionIsInTheFirstLine) {
  EXPECT_EQ(VersionIn("# version 2024a\n# This zic input file is in the public domain.\n"),
            "2024a");
  EXPECT_EQ(VersionIn("# version 2024a"), "2024a");
  EXPECT_EQ(VersionIn("# version 2024b-rearguard (of somebody)\r\n"), "2024b-rearguard");
}

TEST(TimeZoneData, WhatDoesNotSayItIsUnknown) {
  EXPECT_EQ(VersionIn(""), "unknown");
  EXPECT_EQ(VersionIn("# version \n"), "unknown");
  EXPECT_EQ(VersionIn("R d 1916 o - Jun 14 23s 1 S\n# version 2024a\n"), "unknown");
  const ZoneFolder none("/there/is/none");
  EXPECT_EQ(TimeZoneDataVersion(), "unknown");
}

// As for Abseil's time zones.
TEST(TimeZoneData, WithoutAFolderItIsTheSystems) {
  unsetenv("TZDIR");
  const std::string systems = TimeZoneDataVersion();
  {
    const ZoneFolder empty("");
    EXPECT_EQ(TimeZoneDataVersion(), systems);
  }
  const ZoneFolder zones("/usr/share/zoneinfo");
  EXPECT_EQ(TimeZoneDataVersion(), systems);
}

}  // namespace
}  // namespace segmentd
