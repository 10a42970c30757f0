// SPDX-License-Identifier: BSD-3-Clause
// Documents from and to files.
#include "control/config_client.hh"

#include "control/methods_parts.hh"
#include "control/parameters.hh"
#include "control/print_config.hh"
#include "dataplane/file_descriptor.hh"
#include "ports/error.hh"

#include <cerrno>
#include <string>
#include <string_view>

#include <fcntl.h>
#include <sys/stat.h>
#include <unistd.h>

namespace strait::control {

namespace json = boost::json;

namespace {

// With JSON's escapes it is less than a request may be long.
constexpr std::size_t part_size = 400 * 1024;

[[noreturn]] void refuse(const std::string& why)
{
    throw call_error{true, why};
}

// All of it or nothing, also if the power goes.
void write_file(const std::string& path, std::string_view text)
{
    const std::string unfinished = path + ".new";
    const auto check = [&](bool right) {
        if (!right) {
            const int code = errno;
            (void)::unlink(unfinished.c_str());
            refuse("the file " + path + " cannot be written: " + ports::describe(code));
        }
    };
    constexpr mode_t owner_alone = 0600;
    dataplane::file_descriptor file{::open(
        unfinished.c_str(), O_WRONLY | O_CREAT | O_TRUNC | O_CLOEXEC | O_NOFOLLOW, owner_alone)};
    check(static_cast<bool>(file));
    while (!text.empty()) {
        const ssize_t n = ::write(file.get(), text.data(), text.size());
        check(n > 0 || errno == EINTR);
        text.remove_prefix(n > 0 ? static_cast<std::size_t>(n) : 0);
    }
    check(::fsync(file.get()) == 0);
    check(::rename(unfinished.c_str(), path.c_str()) == 0);
    const auto slash = path.rfind('/');
    const std::string folder = slash == std::string::npos ? "." : path.substr(0, slash + 1);
    const dataplane::file_descriptor dir{
        ::open(folder.c_str(), O_RDONLY | O_DIRECTORY | O_CLOEXEC)};
    (void)::fsync(dir.get());
}

json::value send_in_parts(client& daemon, const json::object& parameters, std::string_view text,
                          bool applies)
{
    const json::value upload = daemon.call("config.begin", {}).as_object().at("upload");
    while (!text.empty()) {
        std::size_t size = std::min(part_size, text.size());
        while (size < text.size() && (static_cast<unsigned char>(text[size]) & 0xc0U) == 0x80U) {
            --size; // not within a character
        }
        (void)daemon.call("config.put", {{"upload", upload}, {"text", text.substr(0, size)}});
        text.remove_prefix(size);
    }
    json::object last{{"upload", upload}, {"diff", !applies}};
    if (const auto* const file = parameters.if_contains("file")) {
        last["file"] = *file;
    }
    return daemon.call("config.commit", last);
}

} // namespace

std::vector<method> config_commands()
{
    return {{.name = "config.save",
             .summary = "Write the configuration to a file, which config apply takes",
             .changes = false,
             .parameters = {{.name = "file",
                             .help = "the file, in place of one of that name",
                             .placeholder = "FILE",
                             .required = true,
                             .positional = true,
                             .maximum = longest_text,
                             .form = "a path"}},
             .result = {{"file", "string", "the file"}, {"bytes", "integer", "that it has"}}}};
}

bool has_config_file(const method& m)
{
    return m.name == "config.save" || m.name == "config.diff" || m.name == "config.apply";
}

json::value do_config(client& daemon, const method& m, const json::object& parameters)
{
    if (m.name == "config.save") {
        const std::string path = text_of(parameters, "file").value();
        const std::string text = config_text(daemon.call("config.show", {}).as_object());
        write_file(path, text);
        return {{"file", path}, {"bytes", text.size()}};
    }
    const auto text = text_of(parameters, "document");
    if (!text) {
        refuse(command_words(m) + ": FILE is missing: a configuration as config show prints it");
    }
    if (!parameters.contains("file") && text->find('{') == std::string::npos) {
        refuse(command_words(m) + ": there is no file " + *text);
    }
    if (text->size() > part_size) {
        return send_in_parts(daemon, parameters, *text, m.name == "config.apply");
    }
    return daemon.call(m.name, parameters);
}

} // namespace strait::control
