# SPDX-License-Identifier: BSD-3-Clause
# The Debian package, strait_VERSION_amd64.deb: what a host needs (the install components "host" and
# "package"), no simulator and no benchmark. `cpack --config build/release/CPackConfig.cmake` makes
# it of what was built; the target `package` builds all before.

set(STRAIT_MAINTAINER "The Strait authors <strait@localhost>" CACHE STRING
    "Who is named as the maintainer of the package")
set(package_dir "${PROJECT_SOURCE_DIR}/packaging")
configure_file("${package_dir}/debian/changelog.in" "${PROJECT_BINARY_DIR}/package/changelog" @ONLY)

# A package's alone: the unit names programs where a package has them, and is systemd's to find.
install(FILES "${package_dir}/systemd/straitd.service" DESTINATION /lib/systemd/system
        COMPONENT package EXCLUDE_FROM_ALL)
install(FILES "${package_dir}/default/strait" DESTINATION /etc/default
        COMPONENT package EXCLUDE_FROM_ALL)
install(FILES "${package_dir}/debian/copyright" "${PROJECT_BINARY_DIR}/package/changelog"
        DESTINATION share/doc/strait COMPONENT package EXCLUDE_FROM_ALL)
install(FILES "${package_dir}/systemd/pci.conf" "${package_dir}/libvirt/guest.xml"
        DESTINATION share/doc/strait/examples COMPONENT package EXCLUDE_FROM_ALL)
install(DIRECTORY "${PROJECT_SOURCE_DIR}/docs/" DESTINATION share/doc/strait
        COMPONENT package EXCLUDE_FROM_ALL
        FILES_MATCHING PATTERN "*.md" PATTERN "*.svg" PATTERN "man" EXCLUDE)

set(CPACK_GENERATOR DEB)
set(CPACK_INSTALL_CMAKE_PROJECTS
    "${PROJECT_BINARY_DIR};${PROJECT_NAME};host;/;${PROJECT_BINARY_DIR};${PROJECT_NAME};package;/")
set(CPACK_PACKAGING_INSTALL_PREFIX /usr)
set(CPACK_PACKAGE_DIRECTORY "${PROJECT_BINARY_DIR}/package")
set(CPACK_PACKAGE_NAME strait)
set(CPACK_PACKAGE_VERSION "${PROJECT_VERSION}")
set(CPACK_STRIP_FILES ON)
# As `umask 022` would have made them, whoever builds.
set(CPACK_INSTALL_DEFAULT_DIRECTORY_PERMISSIONS
    OWNER_READ OWNER_WRITE OWNER_EXECUTE GROUP_READ GROUP_EXECUTE WORLD_READ WORLD_EXECUTE)
set(CPACK_PRE_BUILD_SCRIPTS "${CMAKE_CURRENT_LIST_DIR}/strait_compress.cmake")
set(CPACK_DEBIAN_FILE_NAME DEB-DEFAULT)
set(CPACK_DEBIAN_PACKAGE_MAINTAINER "${STRAIT_MAINTAINER}")
set(CPACK_PACKAGE_DESCRIPTION_SUMMARY "virtual switch for hypervisor hosts")
set(CPACK_PACKAGE_DESCRIPTION "One daemon joins KVM guests (vhost-user), Xen guests and NICs at layer 2,
polling on CPUs of its own while there is traffic and sleeping while there is
none: MAC learning, VLANs, jumbo frames, several isolated bridges, flows in
Open vSwitch's words, connection tracking, tunnels, mirrors and captures.

Guests go on when the daemon has restarted, as it does when this package is
upgraded, on the rings that they have.")
set(CPACK_DEBIAN_PACKAGE_SECTION net)
set(CPACK_DEBIAN_PACKAGE_PRIORITY optional)
set(CPACK_DEBIAN_COMPRESSION_TYPE xz)
set(CPACK_DEBIAN_PACKAGE_SHLIBDEPS ON)
set(CPACK_DEBIAN_PACKAGE_DEPENDS "init-system-helpers (>= 1.52)")
set(CPACK_DEBIAN_PACKAGE_SUGGESTS "bash-completion, qemu-system-x86")
set(CPACK_DEBIAN_PACKAGE_CONTROL_STRICT_PERMISSION ON)
set(CPACK_DEBIAN_PACKAGE_CONTROL_EXTRA
    "${package_dir}/debian/conffiles;${package_dir}/debian/postinst;${package_dir}/debian/prerm;${package_dir}/debian/postrm")
include(CPack)
