from nbtools.cli import main

main()
