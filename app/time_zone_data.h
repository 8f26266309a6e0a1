// Which version of the time zone data the process reads: local midnights and dates depend on it.
#pragma once

#include <string>

namespace segmentd {

// Of the system's data, such as "2024a", where Abseil's time zones read it: in $TZDIR, else in
// /usr/share/zoneinfo. kUnknownTimeZoneData if nothing there says it.
std::string TimeZoneDataVersion();

}  // namespace segmentd
