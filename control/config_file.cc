// SPDX-License-Identifier: BSD-3-Clause
// Reading it.
#include "control/config_file.hh"

#include <cerrno>
#include <filesystem>
#include <fstream>
#include <iterator>
#include <system_error>
#include <utility>

namespace strait::control {

ports::result<std::string> read_config_file(const std::string& path)
{
    const auto unreadable = [&path](const std::string& why) {
        return ports::error{"the configuration " + path + " cannot be read: " + why};
    };
    std::error_code code;
    if (std::filesystem::is_directory(path, code)) {
        return unreadable("it is a folder; --config takes a file");
    }
    errno = 0;
    std::ifstream file{path};
    std::string text{std::istreambuf_iterator<char>{file}, {}};
    if (!file || file.bad()) {
        return unreadable(std::generic_category().message(errno == 0 ? EIO : errno));
    }
    return {boost::system::in_place_value, std::move(text)};
}

} // namespace strait::control
